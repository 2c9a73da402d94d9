import Compute
import Testing

/// The suites that use devices, one test at a time.
@Suite(.serialized) enum OnDevices {
    @Suite struct Presence {
        @Test func thereIsADevice() throws {
            // Without one the loops over devices would test nothing, and pass.
            #expect(try !DeviceDescription.all().isEmpty)
        }
    }
}
