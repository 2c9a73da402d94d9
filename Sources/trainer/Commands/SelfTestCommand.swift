import ArgumentParser
import Basics
import Benchmarks
import Compute
import Configuration
import Foundation

struct SelfTestCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "selftest",
        abstract: "Compare every kernel on a device with a reference in double precision.",
        discussion: """
            Runs the kernels for CPUs and those for GPUs, where the device can run both. Fails if an error \
            exceeds its limit or a kernel was not launched. The output is what a report about a driver needs.
            """)

    @OptionGroup var device: DeviceOptions

    func run() throws {
        let description = try device.description()
        DevicesCommand.print(description, DevicesCommand.facts(of: description))
        print("")
        let header = ["check", "body", "largest error", "limit", "result"]
        let width = SelfTest.names.map(\.count).max() ?? 0
        let table = TextTable(header: header, [.left], leastWidths: [width, 4, header[2].count, 8])
        print(table.text)
        let test = SelfTest(description) { row in
            let numbers = [row.error, row.limit].map { $0.map { String(format: "%.1e", $0) } ?? "–" }
            // A number measured belongs to the line, and an error message of any length below it.
            let result = row.isPassed ? "ok" : "FAILED"
            let note = row.error == nil || row.note.isEmpty ? "" : ", " + row.note
            print(table.line([row.check, row.body.rawValue] + numbers + [result + note]))
            if row.error == nil {
                for text in row.note.split(separator: "\n").prefix(40) { print("    " + text) }
            }
        }
        for kernels in test.coverage {
            print("\nkernels launched, \(kernels.body.rawValue) body: \(kernels.launched.count)")
            for line in families(kernels.launched) { print("  " + line) }
            if !kernels.notLaunched.isEmpty {
                print("kernels NOT launched, \(kernels.body.rawValue) body: \(kernels.notLaunched.count)")
                for line in families(kernels.notLaunched) { print("  " + line) }
            }
        }
        let failed = test.rows.count { !$0.isPassed }
        let missing = test.coverage.reduce(0) { $0 + $1.notLaunched.count }
        print("\n\(test.rows.count) checks, \(failed) failed; \(missing) kernels not launched")
        guard test.isPassed else {
            throw TrainingError(
                "selftest: \(failed) of \(test.rows.count) checks failed and \(missing) kernels were not "
                    + "launched on \(description.name)")
        }
    }

    /// Returns a line for each family.
    private func families(_ kernels: [String]) -> [String] {
        var table = TextTable([.left])
        var names: [(family: Substring, kernels: [Substring])] = []
        for parts in kernels.map({ $0.split(separator: ": ") }) where parts.count == 2 {
            if names.last?.family == parts[0] {
                names[names.count - 1].kernels.append(parts[1])
            } else {
                names.append((parts[0], [parts[1]]))
            }
        }
        for (family, kernels) in names { table.add([String(family), kernels.joined(separator: ", ")]) }
        return table.lines
    }
}
