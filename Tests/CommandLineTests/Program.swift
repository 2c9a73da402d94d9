import Compute
@testable import Basics
import Foundation

/// The built `trainer`, run as a user runs it.
struct Program {
    struct Result {
        let status: Int32
        let output: String
        let errors: String
        let seconds: Double
    }

    /// Where the test's own binary lies, the others lie too.
    static let folder = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().path

    /// Runs `trainer` (or another binary built beside it) to its end.
    static func run(
        _ arguments: [String], in folder: String, program: String = "trainer",
        environment: [String: String] = [:], fileBlocks: Int? = nil
    ) throws -> Result {
        let process = Process()
        let path = Program.folder + "/" + program
        if let fileBlocks {
            // The shell's own limit, as a user would meet it: blocks of 512 bytes.
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments = ["-c", "ulimit -f \(fileBlocks); exec \"$0\" \"$@\"", path] + arguments
        } else {
            process.executableURL = URL(fileURLWithPath: path)
            process.arguments = arguments
        }
        process.currentDirectoryURL = URL(fileURLWithPath: folder)
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        // Files rather than pipes: a full pipe would stop the program.
        let names = ["out", "errors"].map { "\(folder)/.\($0)-\(UUID().uuidString)" }
        for name in names { _ = FileManager.default.createFile(atPath: name, contents: nil) }
        defer { for name in names { try? FileManager.default.removeItem(atPath: name) } }
        let handles = try names.map { try FileHandle(forWritingTo: URL(fileURLWithPath: $0)) }
        process.standardOutput = handles[0]
        process.standardError = handles[1]
        process.standardInput = FileHandle.nullDevice
        let start = ContinuousClock.now
        try process.run()
        process.waitUntilExit()
        let duration = (ContinuousClock.now - start).components
        for handle in handles { try handle.close() }
        let texts = try names.map {
            String(decoding: try Data(contentsOf: URL(fileURLWithPath: $0)), as: UTF8.self)
        }
        let status =
            process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
        return Result(
            status: status, output: texts[0], errors: texts[1],
            seconds: Double(duration.seconds) + Double(duration.attoseconds) * 1e-18)
    }
}

/// A folder with a small set and a run trained on it, made once for all tests.
final class Workplace: Sendable {
    /// Below the system's folder for temporary files; removed when the tests end.
    let path: String
    /// Options of a run of a second or so, `--data` and `--out` left out.
    static let small = [
        "--model", "16,M,F16", "--image-size", "16", "--epochs", "1", "--batch", "8", "--device", "auto",
    ]

    static let shared = Swift.Result { try Workplace() }

    private init() throws {
        path = NSTemporaryDirectory() + "command-line-tests-\(getpid())"
        try? FileManager.default.removeItem(atPath: path)
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        atexit {
            try? FileManager.default.removeItem(
                atPath: NSTemporaryDirectory() + "command-line-tests-\(getpid())")
        }
        for arguments in [
            ["scenes", "--out", "set", "--count", "60", "--size", "32", "--classes", "3"],
            ["train", "--data", "set", "--out", "run"] + Workplace.small,
        ] {
            let result = try Program.run(arguments, in: path)
            guard result.status == 0 else { throw Unexpected(description: "\(arguments): \(result)") }
        }
    }

    struct Unexpected: Error, CustomStringConvertible { let description: String }

    func run(_ arguments: [String], environment: [String: String] = [:], fileBlocks: Int? = nil) throws
        -> Program.Result
    { try Program.run(arguments, in: path, environment: environment, fileBlocks: fileBlocks) }

    /// A path below the workplace; its folder is made.
    func file(_ name: String, _ content: [UInt8]) throws -> String {
        let url = URL(fileURLWithPath: path + "/" + name)
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(content).write(to: url)
        return name
    }

    func file(_ name: String, _ text: String) throws -> String { try file(name, Array(text.utf8)) }

    func bytes(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: path + "/" + name)))
    }

    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + name) }

    /// The first validation photograph of a class.
    func photograph(_ name: String) throws -> String {
        let folder = "set/val/" + name
        let files = try FileManager.default.contentsOfDirectory(atPath: path + "/" + folder).sorted()
        return folder + "/" + (files.first ?? "none")
    }
}
