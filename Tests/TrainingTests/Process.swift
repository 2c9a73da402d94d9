@testable import Basics
import Foundation
import Models

/// The built `trainer`, and a folder of a test's own to run it in.
final class Workplace {
    struct Result {
        let status: Int32
        let output: String
        let errors: String
    }

    /// A small run's options; a test's own follow them and win.
    static let small = [
        "--data", "set", "--model", "16,M,F16", "--image-size", "16", "--batch", "8", "--epochs", "2",
        "--learning-rate", "0.02", "--device", "cpu",
    ]

    let path: String

    /// Makes the folder, with a small set in it: `set/train` and `set/val`, 48 and 12 pictures of 3 classes.
    init() throws {
        path = NSTemporaryDirectory() + "training-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        _ = try run("scenes", "--out", "set", "--count", "60", "--size", "24", "--classes", "3")
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The trainer lies beside the tests' own binary.
    static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("trainer").path

    func train(_ arguments: String..., fileBlocks: Int? = nil) throws -> Result {
        try run(Workplace.small + arguments, fileBlocks: fileBlocks)
    }

    func run(_ arguments: String...) throws -> Result { try run(arguments) }

    /// Runs the trainer as `ranks` ranks of one job; one alone is started without mpirun.
    func mpirun(_ ranks: Int, _ arguments: [String], whileRunning: (Int32) throws -> Void = { _ in }) throws
        -> Result
    {
        if ranks == 1 { return try run(arguments) }
        let launcher = [
            "mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "\(ranks)", Workplace.program,
        ]
        return try run(launcher + arguments, program: "/usr/bin/env", whileRunning: whileRunning)
    }

    /// - Parameters:
    ///   - fileBlocks: the largest file, in blocks of 512 bytes
    ///   - whileRunning: gets the process's number
    func run(
        _ arguments: [String], program: String = Workplace.program, fileBlocks: Int? = nil,
        whileRunning: (Int32) throws -> Void = { _ in }
    ) throws -> Result {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let limit = fileBlocks.map { "ulimit -f \($0); " } ?? ""
        process.arguments = ["-c", limit + "exec \"$0\" \"$@\"", program] + arguments
        process.currentDirectoryURL = URL(fileURLWithPath: path)
        let files = ["out", "errors"].map { path + "/.\($0)-\(UUID().uuidString)" }
        for file in files { _ = FileManager.default.createFile(atPath: file, contents: nil) }
        let handles = try files.map { try FileHandle(forWritingTo: URL(fileURLWithPath: $0)) }
        process.standardOutput = handles[0]
        process.standardError = handles[1]
        process.standardInput = FileHandle.nullDevice
        try process.run()
        try whileRunning(process.processIdentifier)
        process.waitUntilExit()
        let texts = try files.map {
            String(decoding: try Data(contentsOf: URL(fileURLWithPath: $0)), as: UTF8.self)
        }
        let status =
            process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
        return Result(status: status, output: texts[0], errors: texts[1])
    }

    func file(_ name: String) -> String { path + "/" + name }
    func exists(_ name: String) -> Bool { FileManager.default.fileExists(atPath: file(name)) }
    func bytes(_ name: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: file(name))) }
    func text(_ name: String) throws -> String { String(decoding: try bytes(name), as: UTF8.self) }
    func names(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: file(folder)).sorted()
    }

    /// Waits until a file or folder is there; half a minute at most.
    func await(_ name: String) {
        let end = ContinuousClock.now + .seconds(30)
        while !exists(name), ContinuousClock.now < end { usleep(500) }
    }

    /// A run's log without what a clock has measured.
    func untimedLog(_ run: String) throws -> String {
        try text(run + "/metrics.jsonl").replacing(
            /,"(images_per_second|data_wait|loader_seconds|seconds)":[-0-9.e]+/, with: "")
    }
}

extension Workplace {
    /// A tensor of a safetensors file; nil where it has none of this name.
    func tensor(_ file: String, _ name: String) throws -> [Float]? {
        let content = try SafetensorsFile.read(self.file(file))
        return content.tensors[name] == nil ? nil : try content.floats(name)
    }

    /// What a run's last model says of itself.
    func metadata(_ run: String, _ key: String) throws -> String? {
        try SafetensorsFile.read(file(run + "/checkpoints/last/model.safetensors")).metadata[key]
    }
}
