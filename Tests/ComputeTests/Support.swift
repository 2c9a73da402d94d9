import Compute
import Foundation
import Testing

/// Every device here. Suites take it as their argument, so a second OpenCL runtime is tested by being
/// visible.
let testDevices = (try? DeviceDescription.all()) ?? []

extension DeviceDescription: CustomTestStringConvertible {
    public var testDescription: String { "opencl:\(number) \(name)" }
}

@Test func thereIsADevice() throws {
    // Without one every test that takes a device would run no case at all, and pass.
    #expect(try !DeviceDescription.all().isEmpty)
}

/// A folder of a test's own, removed with all it holds when the test lets it go.
final class TemporaryFolder {
    let path = NSTemporaryDirectory() + "compute-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    var files: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }
}

/// What `body` throws, as the user reads it.
func message(_ body: () throws -> Void) -> String {
    do {
        try body()
        return "(no error)"
    } catch { return "\(error)" }
}
