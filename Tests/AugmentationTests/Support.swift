import TestSupport
import Testing

/// The suites that use devices, one test at a time.
@Suite(.serialized) enum OnDevices {
    @Suite struct Presence { @Test func thereIsADevice() throws { try expectDevice() } }
}
