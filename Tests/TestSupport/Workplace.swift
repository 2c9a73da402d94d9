import Foundation
import Models
import Testing

/// A folder to run the trainer in, with a small set of photographs that is easy to learn.
public final class Workplace: TemporaryFolder, @unchecked Sendable {
    /// The options of a small run, which learns the set; a test's own follow them and win.
    public static let small = [
        "--data", "set", "--model", "16,M,F16", "--image-size", "16", "--batch", "8", "--epochs", "2",
        "--optimizer", "sgd", "--learning-rate", "0.02", "--device", "cpu",
    ]

    private static let pictures = Result { try TintedPictures.files() }

    /// Makes the folder with `set/train` and `set/val`: 48 and 12 pictures of three classes.
    public override init() throws {
        try super.init()
        for (name, content) in try Self.pictures.get() { try write(content, "set/" + name) }
    }

    // MARK: - Running the trainer

    public func run(
        _ arguments: [String], environment: [String: String] = [:], fileBlocks: Int? = nil,
        whileRunning: @escaping @Sendable (pid_t) throws -> Void = { _ in }
    ) throws -> Command.Result {
        try Command.run(
            [Command.path("trainer")] + arguments, in: path, environment: environment,
            fileBlocks: fileBlocks, whileRunning: whileRunning)
    }

    /// Runs a command that must succeed.
    @discardableResult public func succeed(
        _ line: String, environment: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Command.Result {
        let result = try run(words(line), environment: environment)
        try #require(result.status == 0, "\(result)", sourceLocation: sourceLocation)
        return result
    }

    /// Trains on the small set with these options, which must succeed.
    @discardableResult public func train(
        _ line: String, environment: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Command.Result {
        let options = Workplace.small.joined(separator: " ")
        return try succeed("\(options) \(line)", environment: environment, sourceLocation: sourceLocation)
    }

    /// Trains on the small set with these options, and calls `whileRunning` with the process's identifier.
    public func train(_ line: String, whileRunning: @escaping @Sendable (pid_t) throws -> Void) throws
        -> Command.Result
    { try run(Workplace.small + words(line), whileRunning: whileRunning) }

    /// Runs a command that must fail with this status and message.
    @discardableResult public func expect(
        _ mistake: Mistake, fileBlocks: Int? = nil, sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> Command.Result {
        let result = try run(mistake.arguments, environment: mistake.environment, fileBlocks: fileBlocks)
        #expect(result.status == mistake.status, "\(result)", sourceLocation: sourceLocation)
        let lines = result.errors.split(separator: "\n").filter {
            !$0.hasPrefix("Help:") && !$0.hasPrefix("Usage:")
        }
        let message = lines.joined(separator: " ")
        for part in mistake.message {
            #expect(
                message.contains(part), "'\(part)' is not in '\(message)'", sourceLocation: sourceLocation)
        }
        // Neither an error code of OpenCL or Foundation nor a trap.
        for part in ["OpenCL error", " CL_", "NSCocoa", "Fatal error", "Backtrace"] {
            #expect(!message.contains(part), sourceLocation: sourceLocation)
        }
        #expect(!exists("never"), "a run that cannot start leaves no folder", sourceLocation: sourceLocation)
        return result
    }

    /// Runs the trainer as `ranks` ranks of one job, and a single rank without mpirun.
    public func mpirun(
        _ ranks: Int, _ line: String,
        whileRunning: @escaping @Sendable (pid_t) throws -> Void = { _ in }
    ) throws -> Command.Result {
        let arguments = words(line)
        if ranks == 1 { return try run(arguments) }
        let launcher = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "\(ranks)"]
        return try Command.run(
            launcher + [Command.path("trainer")] + arguments, in: path, whileRunning: whileRunning)
    }

    /// Waits until a file or folder exists, for half a minute at most.
    public func await(_ name: String) {
        let end = ContinuousClock.now + .seconds(30)
        while !exists(name), ContinuousClock.now < end { usleep(500) }
    }

    // MARK: - What a run wrote

    /// Checks that two runs ended with the same model, and that both have learnt.
    ///
    /// The bits of networks that have died agree easily.
    public func expectSameModel(
        _ run: String, _ other: String, _ comment: Comment? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let models = try [run, other].map { try bytes($0 + "/checkpoints/last/model.safetensors") }
        // Without the bytes themselves, whose description would take minutes.
        let isSame = models[0] == models[1]
        #expect(isSame, comment, sourceLocation: sourceLocation)
        for run in [run, other] { try expectLearnt(run, sourceLocation: sourceLocation) }
    }

    /// Checks by a run's log that its training losses fell clearly.
    public func expectLearnt(_ run: String, sourceLocation: SourceLocation = #_sourceLocation) throws {
        let losses = try events(run, "train").compactMap { $0["loss"] as? Double }
        let classes = try events(run, "start").compactMap { $0["classes"] as? Int }
        TestSupport.expectLearnt(
            losses, classes: try #require(classes.first), "\(run)", sourceLocation: sourceLocation)
    }

    /// Returns the events of one kind in a run's log.
    public func events(_ run: String, _ kind: String) throws -> [[String: Any]] {
        try text(run + "/metrics.jsonl").split(separator: "\n").compactMap {
            try JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any]
        }.filter { $0["event"] as? String == kind }
    }

    /// Returns a run's log without what a clock has measured.
    public func untimedLog(_ run: String) throws -> String {
        try text(run + "/metrics.jsonl").replacing(
            /,"(images_per_second|data_wait|loader_seconds|seconds)":[-0-9.e]+/, with: "")
    }

    /// Returns a tensor of a safetensors file, or nil if it has none of this name.
    public func tensor(_ file: String, _ name: String) throws -> [Float]? {
        let content = try SafetensorsFile.read(self.file(file))
        return content.tensors[name] == nil ? nil : try content.floats(name)
    }

    /// Returns an entry of the metadata of a run's last model.
    public func metadata(_ run: String, _ key: String) throws -> String? {
        try SafetensorsFile.read(file(run + "/checkpoints/last/model.safetensors")).metadata[key]
    }
}
