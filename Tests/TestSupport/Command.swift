import Foundation
import Subprocess

/// A program that was built beside the tests.
public enum Command {
    public struct Result: Sendable {
        /// The exit status, or 128 + the number of the signal that ended the program.
        public let status: Int32
        public let output: String
        public let errors: String
    }

    /// Says that a program ran for longer than its limit and was ended.
    public struct TimedOut: Error { let arguments: [String] }

    /// Returns the path of a program of this package.
    public static func path(_ name: String) -> String {
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().path
            + "/" + name
    }

    /// Runs a program to its end, through the shell, and returns what it wrote.
    ///
    /// - Parameters:
    ///   - command: the program's path and its arguments
    ///   - environment: variables to set besides those of the tests
    ///   - fileBlocks: the shell's limit of a file's size, in blocks of 512 bytes
    ///   - limit: the time after which the program is ended
    ///   - whileRunning: called with the process's identifier once it has been started
    public static func run(
        _ command: [String], in folder: String, environment: [String: String] = [:], fileBlocks: Int? = nil,
        limit: Duration = .seconds(240), whileRunning: @escaping @Sendable (pid_t) throws -> Void = { _ in }
    ) throws -> Result {
        let script = (fileBlocks.map { "ulimit -f \($0); " } ?? "") + "exec \"$0\" \"$@\""
        let variables = environment.map { (Environment.Key(stringLiteral: $0), String?.some($1)) }
        return try wait(for: command, limit: limit) {
            var options = PlatformOptions()
            // mpirun ends its ranks when it is terminated, but not when it is killed.
            options.teardownSequence = [.gracefulShutDown(allowedDurationToNextStep: .seconds(5))]
            let result = try await Subprocess.run(
                .path("/bin/sh"), arguments: Arguments(["-c", script] + command),
                environment: .inherit.updating(Dictionary(uniqueKeysWithValues: variables)),
                workingDirectory: .init(folder), platformOptions: options, input: .none,
                output: .string(limit: 1 << 26), error: .string(limit: 1 << 26)
            ) { try whileRunning($0.processIdentifier.value) }
            let status =
                switch result.terminationStatus {
                case .exited(let code): code
                case .signaled(let signal): 128 + signal
                }
            return Result(status: status, output: result.standardOutput, errors: result.standardError)
        }
    }

    /// Runs a task on threads of its own, because the caller may block the only thread of Swift's pool.
    private static func wait(
        for command: [String], limit: Duration, _ body: @escaping @Sendable () async throws -> Result
    ) throws -> Result {
        let done = DispatchSemaphore(value: 0)
        nonisolated(unsafe) var result: Swift.Result<Result, any Error>?
        let task = Task(executorPreference: Threads()) {
            do { result = .success(try await body()) } catch { result = .failure(error) }
            done.signal()
        }
        if done.wait(timeout: .now() + .seconds(Int(limit.components.seconds))) == .timedOut {
            task.cancel()
            done.wait()
            throw TimedOut(arguments: command)
        }
        guard let result else { preconditionFailure("the task has ended without a result") }
        return try result.get()
    }

    private final class Threads: TaskExecutor {
        func enqueue(_ job: consuming ExecutorJob) {
            let job = UnownedJob(job)
            DispatchQueue.global().async { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
        }
    }
}
