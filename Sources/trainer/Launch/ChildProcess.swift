import Basics
import CProcess
import Collectives
import Foundation

/// A program in a session of its own.
///
/// This process adopts what the program leaves behind, such as Open MPI's daemon for a lost machine, and ends
/// it.
struct ChildProcess {
    let id: pid_t
    /// The ends of the pipes from its standard output and error; reading from them does not wait.
    let output, errors: Int32

    /// Starts a program, which is found in PATH, with this process's standard input.
    ///
    /// - Throws: `LaunchError` if it cannot be started
    init(_ arguments: [String], environment: [String: String]) throws {
        _ = cprocess_adopt_orphans()
        let words = arguments.map { strdup($0) } + [nil]
        let variables = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for pointer in words + variables { free(pointer) } }
        var id: pid_t = 0
        var outputs: [Int32] = [-1, -1]
        let code = cprocess_spawn_session(&id, words, variables, &outputs)
        guard code == 0 else {
            throw LaunchError(
                description: "\(arguments[0]) cannot be started (\(String(cString: strerror(code))))"
                    + (code == ENOENT ? "; install openmpi-bin, which has it" : ""))
        }
        self.id = id
        (output, errors) = (outputs[0], outputs[1])
    }

    /// Returns the exit status if the program has ended, 128 + n after signal n; reaps what else has ended.
    func statusIfEnded() -> Int32? {
        var status: Int32 = 0
        while true {
            let ended = waitpid(-1, &status, WNOHANG)
            if ended <= 0 { return nil }
            if ended == id { return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F) }
        }
    }

    /// The processes that the program itself has started, and that run the same file as this process.
    var copiesOfThisProgram: [pid_t] {
        let own = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return ChildProcess.children(of: id).filter {
            (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\($0)/exe")) == own
        }
    }

    /// The files in /dev/shm that these processes have mapped.
    var sharedFiles: Set<String> {
        copiesOfThisProgram.reduce(into: []) { $0.formUnion(ChildProcess.sharedFiles(of: $1)) }
    }

    /// Removes files that ended processes shared, which stay there if mpirun is killed.
    ///
    /// A name of Open MPI ends with the job and the rank; the job's other ranks have files too.
    static func remove(_ shared: Set<String>) {
        let jobs = shared.filter { $0.contains("/vader_segment.") }.compactMap { path in
            path.lastIndex(of: ".").map { String(path[...$0]) }
        }
        let all = jobs.isEmpty ? [] : ((try? Folder.names("/dev/shm")) ?? []).map { "/dev/shm/" + $0 }
        for path in shared.union(all.filter { path in jobs.contains { path.hasPrefix($0) } }) { unlink(path) }
    }

    /// Kills this process's descendants, and waits for their end for a second at most.
    static func killDescendants() {
        let end = Clock.seconds + 1
        while Clock.seconds < end {
            let children = ChildProcess.children(of: getpid())
            if children.isEmpty { return }
            for child in children { killWithChildren(child) }
            var status: Int32 = 0
            while waitpid(-1, &status, WNOHANG) > 0 {}
            usleep(10_000)
        }
    }

    private static func killWithChildren(_ id: pid_t) {
        let children = children(of: id)
        kill(id, SIGKILL)
        for child in children { killWithChildren(child) }
    }

    /// Returns the files in /dev/shm that a process has mapped.
    private static func sharedFiles(of id: pid_t) -> Set<String> {
        let paths = SystemFile.text("/proc/\(id)/maps").split(separator: "\n").compactMap { line in
            line.range(of: "/dev/shm/").map { String(line[$0.lowerBound...]) }
        }
        return Set(paths.filter { !$0.hasSuffix(" (deleted)") })
    }

    /// Returns the processes whose parent is this one.
    private static func children(of parent: pid_t) -> [pid_t] {
        let threads = (try? Folder.names("/proc/\(parent)/task")) ?? []
        return threads.flatMap { thread in
            SystemFile.text("/proc/\(parent)/task/\(thread)/children").split(separator: " ").compactMap {
                pid_t($0)
            }
        }
    }
}
