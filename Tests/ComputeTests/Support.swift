import TestSupport
import Testing

@Test func thereIsADevice() throws { try expectDevice() }

/// Returns the message of the error that `body` throws.
func message(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "(no error)"
    } catch { return "\(error)" }
}
