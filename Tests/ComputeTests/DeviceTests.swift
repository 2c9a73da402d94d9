import Compute
import TestSupport
import Testing

@Suite struct DeviceSelectorTests {
    @Test func parses() throws {
        #expect(try DeviceSelector(parsing: "auto") == .auto)
        #expect(try DeviceSelector(parsing: "cpu") == .cpu)
        #expect(try DeviceSelector(parsing: "gpu") == .gpu)
        #expect(try DeviceSelector(parsing: "opencl:0") == .numbers([0]))
        #expect(try DeviceSelector(parsing: "opencl:12") == .numbers([12]))
    }

    @Test(arguments: [
        "", "CPU", "opencl", "opencl:", "opencl:-1", "opencl:x", "opencl:1.5", "0",
        "opencl:99999999999999999999",
    ]) func refuses(text: String) {
        let said = message { _ = try DeviceSelector(parsing: text) }
        #expect(said.contains("'\(text)'") && said.contains("opencl:N"))
    }

    @Test func selects() throws {
        let devices = try DeviceDescription.all()
        for device in devices {
            #expect(try DeviceSelector.numbers([device.number]).select(from: devices).number == device.number)
        }
        let gpu = devices.first { $0.kind == .gpu }
        #expect(try DeviceSelector.auto.select(from: devices).number == (gpu ?? devices[0]).number)
        for (selector, kind) in [(DeviceSelector.cpu, DeviceDescription.Kind.cpu), (.gpu, .gpu)] {
            if let first = devices.first(where: { $0.kind == kind }) {
                #expect(try selector.select(from: devices).number == first.number)
            } else {
                let said = message { _ = try selector.select(from: devices) }
                #expect(
                    said.contains("no device \(kind.rawValue)") && said.contains("opencl:0")
                        && said.contains(devices[0].name))
            }
        }
    }

    @Test func meansAllOfAKind() throws {
        let devices = try DeviceDescription.all()
        #expect(try DeviceSelector.numbers([0, 0]).meant(of: devices).map(\.number) == [0, 0])
        for (selector, kind) in [(DeviceSelector.cpu, DeviceDescription.Kind.cpu), (.gpu, .gpu)] {
            let all = devices.filter { $0.kind == kind }
            guard let first = all.first else { continue }
            let meant = kind == .cpu ? all.filter { $0.platform == first.platform } : all
            #expect(try selector.meant(of: devices).map(\.number) == meant.map(\.number))
        }
    }

    @Test func namesWhatThereIs() throws {
        let devices = try DeviceDescription.all()
        let said = message { _ = try DeviceSelector.numbers([devices.count]).select(from: devices) }
        #expect(said.contains("opencl:\(devices.count)"))
        for device in devices {
            #expect(said.contains("opencl:\(device.number)") && said.contains(device.name))
        }
        #expect(throws: ComputeError.noDevice) { try DeviceSelector.auto.select(from: []) }
        #expect(ComputeError.noDevice.kind == .noPlatform)
    }
}

@Suite struct DeviceDescriptionTests {
    @Test(arguments: presentDevices) func limitsMakeSense(description: DeviceDescription) {
        #expect(presentDevices[description.number].name == description.name)
        #expect(!description.name.isEmpty && !description.platform.isEmpty && !description.driver.isEmpty)
        #expect(description.computeUnits >= 1 && description.largestWorkGroup >= 1)
        #expect(
            description.globalMemory >= description.largestBuffer && description.largestBuffer >= 128 << 20)
        // OpenCL 1.2 promises at least 32 KB of local memory and the alignment of a long16.
        #expect(description.localMemory >= 32 << 10)
        #expect(
            description.baseAlignment >= 128
                && description.baseAlignment & (description.baseAlignment - 1) == 0)
    }
}
