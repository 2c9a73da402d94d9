import Basics
import Foundation

/// Starts this program again as one or more ranks, and waits for its results.
struct RankLauncher {
    /// The launcher and its options.
    let launcher: [String]

    /// - Parameter command: such as `mpirun` or `mpirun --hostfile hosts`
    init(_ command: String) { launcher = command.split(separator: " ").map(String.init) }

    /// Runs a command of this program, and discards its standard output.
    ///
    /// - Parameter ranks: 1 starts it without the launcher
    /// - Throws: `LaunchError` with the end of what it wrote on its standard error
    func run(ranks: Int, _ arguments: [String]) throws {
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().path
        var words = [program] + arguments
        if ranks > 1 {
            // Ranks share the cores, of which there may be fewer.
            words =
                MPIRun.start(ranks, launcher: launcher, asRoot: geteuid() == 0) + ["--oversubscribe"] + words
        }
        let folder = try TemporaryOutput()
        let errors = folder.file("errors")
        guard FileManager.default.createFile(atPath: errors, contents: nil),
            let handle = FileHandle(forWritingAtPath: errors)
        else { throw LaunchError(description: "\(errors) cannot be written; check TMPDIR") }
        defer { try? handle.close() }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = handle
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus != 0 || process.terminationReason != .exit else { return }
        if process.terminationStatus == 127, ranks > 1 {
            throw LaunchError(
                description: "'\(launcher.joined(separator: " "))' was not found; install openmpi-bin, or "
                    + "give the launcher with --launcher")
        }
        let text = (try? String(contentsOfFile: errors, encoding: .utf8)) ?? ""
        let lines = text.split(separator: "\n").filter { !$0.allSatisfy { "-= ".contains($0) } }
        let cause = lines.first { $0.contains("error: ") } ?? lines.last ?? "it wrote nothing"
        let typed = (ranks > 1 ? launcher + ["-n", "\(ranks)"] : []) + ["trainer"] + arguments
        throw LaunchError(
            description: "`\(typed.joined(separator: " "))` failed with status \(process.terminationStatus): "
                + cause.trimmingCharacters(in: .whitespaces))
    }

    /// Runs a command that has `--json`, and returns what it wrote there.
    func results(ranks: Int, _ arguments: [String]) throws -> JSON {
        let folder = try TemporaryOutput()
        let file = folder.file("results.json")
        try run(ranks: ranks, arguments + ["--json", file])
        return try JSON.parse(Array(Data(contentsOf: URL(fileURLWithPath: file))))
    }
}

/// A folder for what a started program writes, removed with its content.
final class TemporaryOutput {
    let path = NSTemporaryDirectory() + "/trainer-\(UUID().uuidString)"

    init() throws { try Folder.create(path) }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }
}
