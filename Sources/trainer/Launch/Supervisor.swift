import Basics
import Collectives
import Compute
import Foundation
import Runs

/// Says why ranks cannot be started.
struct LaunchError: Error, CustomStringConvertible {
    let description: String
}

/// Starts a training under mpirun, and starts it again when ranks are lost.
///
/// After a loss, training continues from the newest checkpoint on the machines that answer, to the same bits.
/// A rank's own error ends the job, because another try would fail as well.
struct Supervisor {
    /// The ranks to start if all machines answer.
    let ranks: Int
    let hosts: HostList?
    let interface: String?
    let peerTimeout: Double
    /// The most failures in a row without a newer checkpoint.
    let restarts: Int
    /// The smallest number of ranks to train with.
    let minimumRanks: Int
    /// The folder of the run.
    let run: String
    /// Seconds that all starts together may take, as for `--max-time`.
    let maximumTime: Double?
    /// The program and its arguments.
    let command: [String]
    /// How `launch` was typed, up to the command that it runs.
    let typed: String
    let console: LaunchConsole
    private let began = Clock.seconds

    /// How one start of mpirun ended.
    enum Outcome: Equatable {
        /// Finished, stopped as asked, or failed in a way that another try does not cure.
        case final(status: Int32)
        case lost(status: Int32, reason: String)
    }

    /// Seconds that mpirun has to end after a rank has reported a loss: it may wait for a lost machine's
    /// daemon for minutes.
    private static let grace = 5.0

    /// Runs until training ends, or until there were too many failures in a row.
    ///
    /// - Returns: the exit status
    /// - Throws: `LaunchError` or `ThreadLimit` if mpirun cannot run here
    func supervise() throws -> Int32 {
        defer { console.finish() }
        try requireOpenFiles()
        try requireMemory()
        // Measured with Open MPI 4.1.4: with fewer threads mpirun crashes, or ends with messages of its own.
        let ranksHere = min(ranks, ProcessInfo.processInfo.activeProcessorCount)
        try SystemThread.requireRoom(for: 12 + 4 * ranksHere, "ranks")
        let session = try SessionFolder()
        defer { session.remove() }
        var failures = 0
        var newest = RunFolder.newestStep(run)
        var present = hosts
        while true {
            if let secondsLeft, secondsLeft <= 0 {
                say("the time of --max-time is over")
                return stopStatus(otherwise: 1)
            }
            let count = min(ranks, present?.slots ?? ranks)
            if count >= minimumRanks {
                let from = newest.map { "from step \($0)" } ?? "from the beginning"
                say("\(count == 1 ? "1 rank" : "\(count) ranks")\(place(present)), \(from)")
            }
            let outcome =
                count >= minimumRanks
                ? try start(count, on: present, session)
                : .lost(status: 1, reason: "\(count) ranks are left, and --min-ranks is \(minimumRanks)")
            guard case .lost(let status, let reason) = outcome else {
                if case .final(let status) = outcome { return status }
                continue
            }
            let step = RunFolder.newestStep(run)
            failures = step ?? -1 > newest ?? -1 ? 0 : failures + 1
            newest = step
            guard failures <= restarts else {
                say("\(reason); given up: \(failures) in a row without a newer checkpoint")
                return status == 0 ? 1 : status
            }
            let pause = min(60, 1 << max(0, min(6, failures - 1)))
            let counted = failures == 0 ? "" : " (\(failures) of \(restarts) without a newer checkpoint)"
            say("\(reason); trying again in \(pause) s\(counted)")
            if let number = rest(seconds: min(Double(pause), secondsLeft ?? .infinity)) {
                return stopStatus(otherwise: 128 + number)
            }
            guard let hosts else { continue }
            let probed = hosts.probed()
            present = probed.answering
            if !probed.silent.isEmpty { say("no answer from \(probed.silent.listed(atMost: 10))") }
        }
    }

    /// What is left of `maximumTime`.
    private var secondsLeft: Double? { maximumTime.map { $0 - (Clock.seconds - began) } }

    /// The words by which each start gets the time that is left; the last --max-time of a line counts.
    private var timeLeft: [String] { secondsLeft.map { Supervisor.maximumTime($0) } ?? [] }

    static func maximumTime(_ seconds: Double) -> [String] {
        ["--max-time", "\(max(1, Int(seconds.rounded(.up))))s"]
    }

    /// The exit status of a job that was stopped as asked.
    private func stopStatus(otherwise status: Int32) -> Int32 {
        RunFolder.hasCheckpoint(run) ? TrainingInterrupted.status : status
    }

    /// Fails if the limit of open files is too low: mpirun then hangs.
    private func requireOpenFiles() throws {
        // Measured with Open MPI 4.1.4: for two ranks 36 suffice, and 30 do not.
        let needed = rlim_t(32 + 8 * ranks)
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        guard limit.rlim_cur < needed else { return }
        limit.rlim_cur = min(needed, limit.rlim_max)
        guard limit.rlim_max >= needed,
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
        else {
            throw LaunchError(
                description: "\(limit.rlim_max) open files are allowed here, and mpirun needs about "
                    + "\(needed) for \(ranks) ranks; raise the limit by ulimit -n \(needed)")
        }
    }

    /// Fails if the limits on memory or on files are so low that mpirun or the ranks crash or hang.
    private func requireMemory() throws {
        // Measured with Open MPI 4.1.4: with 2 MiB a file it hangs, with 4 it works.
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        guard limit.rlim_cur >= 4 << 20 else {
            throw LaunchError(
                description:
                    "files are limited to \(limit.rlim_cur >> 10) KiB here, and the ranks share files of "
                    + "4 MiB; raise the limit (ulimit -f), or remove it by `ulimit -f unlimited`")
        }
        guard let room = AddressSpace.limit, let text = AddressSpace.limitText else { return }
        // MPI takes some 400 MiB beside what a rank needs by itself.
        let needed = AddressSpace.used + DeviceDescription.addressSpaceOfCPU + 400 << 20
        guard room >= needed else {
            throw LaunchError(
                description: "a rank needs about \(needed >> 20) MiB of address space, and \(text); "
                    + AddressSpace.remedy)
        }
    }

    private func place(_ hosts: HostList?) -> String {
        hosts.map { " on \($0.hosts.map(\.name).listed(atMost: 10))" } ?? ""
    }

    /// Starts mpirun and waits for its end.
    private func start(_ count: Int, on hosts: HostList?, _ session: SessionFolder) throws -> Outcome {
        let reports = try ReportFolder(beside: run)
        defer { reports.remove() }
        var environment = ProcessInfo.processInfo.environment
        environment[RankReport.variable] = reports.path
        environment[RunFolder.launchVariable] = typed
        // Slurm would hand this on to machines that do not have the folder.
        if environment["SLURM_JOB_ID"] == nil { environment["TMPDIR"] = session.path }
        environment[EndedJobs.variable] = session.endedJobs.joined(separator: ",")
        let line = MPIRun(
            ranks: count, hosts: hosts, interface: interface, peerTimeout: peerTimeout,
            exported: [RankReport.variable, RunFolder.launchVariable, EndedJobs.variable],
            command: command + timeLeft)
        let process = try ChildProcess(
            line.arguments(asRoot: getuid() == 0, cores: ProcessInfo.processInfo.activeProcessorCount),
            environment: environment)
        console.attach(output: process.output, errors: process.errors)
        var (shared, nextLook) = (Set<String>(), 0.0)
        defer {
            ChildProcess.killDescendants()
            ChildProcess.remove(shared)
            session.empty()
            console.detach()
        }
        var end: Double?
        var stop: Int32?
        // Without ranks on this machine nothing shows when they start.
        var hasStarted = !(hosts?.beginsHere ?? false)
        while true {
            console.pump()
            if Clock.seconds > nextLook {
                shared.formUnion(process.sharedFiles)
                session.look()
                nextLook = Clock.seconds + (shared.isEmpty ? 0 : 1)
            }
            if let status = process.statusIfEnded() {
                return Supervisor.outcome(
                    status: status, reports: reports.all, stop: stop, hasStarted: hasStarted,
                    hasCheckpoint: RunFolder.hasCheckpoint(run))
            }
            if !hasStarted { hasStarted = !process.copiesOfThisProgram.isEmpty }
            if let number = wait(seconds: 0.1) {
                stop = number
                let isHeard = forward(number, to: process)
                // Without ranks here mpirun passes the stop on, and may take a minute; or it hangs.
                if !isHeard { end = Clock.seconds + (hosts?.beginsHere ?? true ? Supervisor.grace : 65) }
            }
            if end == nil, reports.all.contains(where: { $0.end == .lostRanks }) {
                end = Clock.seconds + Supervisor.grace
            }
            if let end, Clock.seconds > end {
                say("mpirun has not ended: it is killed")
                ChildProcess.killDescendants()
                return Supervisor.outcome(
                    status: 128 + SIGKILL, reports: reports.all, stop: stop,
                    hasCheckpoint: RunFolder.hasCheckpoint(run))
            }
        }
    }

    /// Decides by mpirun's status and the ranks' reports whether another try can succeed.
    ///
    /// - Parameters:
    ///   - stop: the signal by which the job was asked to stop, if it was
    ///   - hasStarted: whether mpirun has started ranks; it fails with status 1 if a machine is lost before
    ///   - hasCheckpoint: whether the run can be resumed
    static func outcome(
        status: Int32, reports: [RankReport], stop: Int32? = nil, hasStarted: Bool = true,
        hasCheckpoint: Bool = false
    ) -> Outcome {
        if status == 0 { return .final(status: 0) }
        if reports.contains(where: { $0.end == .stopped || $0.end == .terminated && stop != nil }) {
            return .final(status: TrainingInterrupted.status)
        }
        // A rank that fails takes others with it, which then miss it.
        if reports.contains(where: { $0.end == .failed }) {
            return .final(status: status == RankReport.lostStatus ? 1 : status)
        }
        // A job that was asked to stop, and had nothing to save or lost a rank then, is not started again.
        if let stop { return .final(status: hasCheckpoint ? TrainingInterrupted.status : 128 + stop) }
        if let report = reports.first(where: { $0.end == .lostRanks }) {
            return .lost(status: status, reason: "rank \(report.rank) reports: \(report.reason)")
        }
        if reports.contains(where: { $0.end == .terminated }) {
            return .lost(status: status, reason: "mpirun has ended the ranks")
        }
        if status == RankReport.lostStatus {
            return .lost(status: status, reason: "a rank on another machine reports a loss")
        }
        if !hasStarted, reports.isEmpty, status == 1 {
            return .lost(status: status, reason: "mpirun has not started the ranks")
        }
        // Faults of the program itself would come again.
        let faults = [SIGILL, SIGABRT, SIGFPE, SIGSEGV, SIGBUS].map { 128 + $0 }
        if [1, 2, TrainingInterrupted.status].contains(status) || faults.contains(status) {
            return .final(status: status)
        }
        return .lost(status: status, reason: "mpirun ended with status \(status)")
    }

    /// Passes a signal to a rank, which agrees with the others on a step to stop after.
    ///
    /// mpirun would kill the ranks before they can write a checkpoint.
    ///
    /// - Returns: false if no rank is on this machine, and mpirun got the signal
    private func forward(_ number: Int32, to process: ChildProcess) -> Bool {
        guard let rank = process.copiesOfThisProgram.first else {
            kill(process.id, number == SIGINT ? SIGINT : SIGTERM)
            return false
        }
        kill(rank, number)
        return true
    }

    /// Waits for a signal that asks the job to stop, also if children end; returns nil after the time.
    private func rest(seconds: Double) -> Int32? {
        let end = Clock.seconds + seconds
        while Clock.seconds < end {
            if let number = wait(seconds: end - Clock.seconds) { return number }
        }
        return nil
    }

    /// Waits for a signal that asks the job to stop; returns it, or nil after the time or a child's end.
    private func wait(seconds: Double) -> Int32? {
        let seconds = max(0, seconds)
        var set = Supervisor.signals
        var time = timespec(
            tv_sec: Int(seconds), tv_nsec: Int(seconds.truncatingRemainder(dividingBy: 1) * 1e9))
        let number = sigtimedwait(&set, nil, &time)
        return number > 0 && number != SIGCHLD ? number : nil
    }

    /// Blocks the signals that `wait` takes; called before the first start.
    static func watchSignals() {
        var set = signals
        pthread_sigmask(SIG_BLOCK, &set, nil)
        // The end of a pager or `head` that reads the output must not end the run.
        Foundation.signal(SIGPIPE, SIG_IGN)
    }

    private static var signals: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in Interruption.watched + [SIGCHLD] { sigaddset(&set, number) }
        return set
    }

    private func say(_ text: String) { console.say("launch: \(text)") }
}

/// A folder beside the run for the ranks' reports; it does not exist on machines that do not share the disk.
private struct ReportFolder {
    let path: String

    init(beside run: String) throws {
        let url = URL(fileURLWithPath: run).standardizedFileURL
        path = url.deletingLastPathComponent().path + "/.launch-\(url.lastPathComponent)"
        remove()
        try Folder.create(path)
    }

    var all: [RankReport] { RankReport.all(in: path) }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}
