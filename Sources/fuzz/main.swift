import ArgumentParser
import Foundation

/// Feeds damaged files to the readers; input `index` of a seed always has the same bytes.
struct Fuzz: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fuzz",
        abstract: "Check that damaged files make no reader crash, hang or return a contradictory result.",
        discussion: "Exit status: 0 nothing found; 1 a finding, its input saved; 2 the command line is wrong."
    )

    @Option(help: "\(targets.keys.sorted().joined(separator: ", ")).") var target: String
    @Option(help: "Duration in seconds.") var seconds = 10.0
    @Option(help: "Seed of the mutations.") var seed: UInt64 = 1
    @Option(help: "Folder with inputs to try first, such as earlier findings.") var corpus: String?
    @Option(help: "Folder in which a failing input is saved.") var findings = "."
    @Option(help: "Run only this file.") var input: String?
    @Option(help: .hidden) var progress: String?

    /// An input that takes longer is a finding.
    private static let patience = 60.0

    func validate() throws {
        guard targets[target] != nil else {
            throw ValidationError("--target \(target): expected \(targets.keys.sorted())")
        }
        guard seconds > 0 else { throw ValidationError("--seconds \(seconds): expected a number above 0") }
    }

    func run() throws {
        guard let target = targets[target] else { return }
        if let input {
            print(try target.check(Array(Data(contentsOf: URL(fileURLWithPath: input)))) ? "read" : "refused")
        } else if let progress {
            try work(target, progress: progress)
        } else {
            try watch(target)
        }
    }

    // MARK: - The process that may crash

    private func work(_ target: any Target, progress: String) throws {
        // A reader that needs more memory trusts a damaged file. The address sanitizer itself needs terabytes
        // of address space.
        if ProcessInfo.processInfo.environment["ASAN_OPTIONS"] == nil {
            var limit = rlimit(rlim_cur: 4 << 30, rlim_max: 4 << 30)
            setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
        }
        let descriptor = open(progress, O_WRONLY)
        defer { close(descriptor) }
        let end = ContinuousClock.now + .seconds(seconds)
        var index: UInt64 = 0
        var accepted = 0
        let known = try corpusFiles()
        while ContinuousClock.now < end || index < known.count {
            // Written before the input is tried, so that it survives a crash.
            pwrite(descriptor, &index, 8, 0)
            if try target.check(input(target, index, known)) { accepted += 1 }
            index += 1
        }
        print("\(self.target): \(index) inputs, \(accepted) of them read, the others refused; seed \(seed)")
    }

    /// Returns an input; the corpus comes first.
    private func input(_ target: any Target, _ index: UInt64, _ known: [[UInt8]]) -> [UInt8] {
        index < known.count ? known[Int(index)] : target.input(seed: seed, index: index)
    }

    private func corpusFiles() throws -> [[UInt8]] {
        guard let corpus else { return [] }
        let names = try FileManager.default.contentsOfDirectory(atPath: corpus).sorted()
        return try names.filter { !$0.hasPrefix(".") }.map {
            Array(try Data(contentsOf: URL(fileURLWithPath: corpus + "/" + $0)))
        }
    }

    // MARK: - The process that watches

    private func watch(_ target: any Target) throws {
        let progress = NSTemporaryDirectory() + "fuzz-\(getpid())"
        try Data(count: 8).write(to: URL(fileURLWithPath: progress))
        defer { try? FileManager.default.removeItem(atPath: progress) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = CommandLine.arguments.dropFirst() + ["--progress", progress]
        if let options = ProcessInfo.processInfo.environment["ASAN_OPTIONS"] {
            // Only the readers are checked for leaks, because Foundation's Process leaks a little.
            process.environment = ProcessInfo.processInfo.environment.merging([
                "ASAN_OPTIONS": options + ":detect_leaks=1"
            ]) { $1 }
        }
        try process.run()
        func index() throws -> UInt64 {
            try Data(contentsOf: URL(fileURLWithPath: progress)).withUnsafeBytes {
                $0.loadUnaligned(as: UInt64.self)
            }
        }
        var last = (index: UInt64.max, since: ContinuousClock.now)
        var hung = false
        while process.isRunning {
            usleep(20_000)
            let now = try index()
            if now != last.index { last = (now, .now) }
            if ContinuousClock.now - last.since > .seconds(Fuzz.patience) {
                hung = true
                kill(process.processIdentifier, SIGKILL)
                break
            }
        }
        process.waitUntilExit()
        if process.terminationReason == .exit, process.terminationStatus == 0 { return }
        let number = try index()
        let file = "\(findings)/\(self.target)-\(seed)-\(number)"
        try Data(input(target, number, corpusFiles())).write(to: URL(fileURLWithPath: file))
        print(
            "\(self.target): input \(number) of seed \(seed) \(hung ? "takes too long" : "fails"); "
                + "repeat: tools/fuzz --target \(self.target) --input \(file)")
        throw ExitCode(1)
    }
}

Fuzz.main()
