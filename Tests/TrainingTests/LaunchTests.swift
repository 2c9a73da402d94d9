import Collectives
import Foundation
import TestSupport
import Testing

@testable import trainer

/// Trainings that `launch` starts and watches.
@Suite(.serialized) struct LaunchTests {
    let place: Workplace
    private static let training =
        "-- train " + Workplace.small.joined(separator: " ")
        + " --micro-batches 2 --checkpoint-every 4 --augment standard --peer-timeout 5"

    init() throws { place = try Workplace() }

    private func children(of parent: pid_t) -> [pid_t] {
        let path = "/proc/\(parent)/task/\(parent)/children"
        return ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").split(separator: " ").compactMap {
            pid_t($0)
        }
    }

    /// The ranks that a launcher's mpirun has started.
    private func ranks(of launcher: pid_t) -> [pid_t] { children(of: launcher).flatMap { children(of: $0) } }

    private func launch(
        _ line: String, whileRunning: @escaping @Sendable (pid_t) throws -> Void = { _ in }
    ) throws -> Command.Result {
        try place.run(["launch"] + line.split(separator: " ").map(String.init), whileRunning: whileRunning)
    }

    @Test(.timeLimit(.minutes(3)), arguments: [0, 1]) func goesOnAfterARankIsKilled(rank: Int) throws {
        let options = "\(Self.training) --epochs 30"
        try place.train("--micro-batches 2 --augment standard --epochs 30 --out alone")
        let result = try launch("-n 2 \(options) --out run") { launcher in
            place.await("run/checkpoints/step-8")
            let ranks = ranks(of: launcher)
            try #require(ranks.count == 2)
            kill(ranks[rank], SIGKILL)
        }
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("launch: 2 ranks, from the beginning"), "\(result.output)")
        #expect(result.output.contains("trying again in 1 s\n"), "\(result.output)")
        #expect(result.output.contains("launch: 2 ranks, from step "), "\(result.output)")
        try place.expectSameModel("run", "alone")
        #expect(try place.names(".").allSatisfy { !$0.hasPrefix(".launch") })
    }

    @Test(.timeLimit(.minutes(3))) func goesOnAfterARankIsStopped() throws {
        let result = try launch("-n 2 \(Self.training) --epochs 30 --out run") { launcher in
            place.await("run/checkpoints/step-8")
            kill(try #require(ranks(of: launcher).last), SIGSTOP)
        }
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("reports: no sign of life from rank"), "\(result.output)")
        try place.train("--micro-batches 2 --augment standard --epochs 30 --out alone")
        try place.expectSameModel("run", "alone")
    }

    @Test(.timeLimit(.minutes(3)), arguments: [SIGTERM, SIGHUP])
    func stopsAsAskedAndContinues(signal: Int32) throws {
        let line = "-n 2 \(Self.training) --epochs 30 --out run"
        let stopped = try launch(line) { launcher in
            place.await("run/checkpoints/step-4")
            kill(launcher, signal)
        }
        #expect(stopped.status == 75, "\(stopped)")
        #expect(!stopped.output.contains("trying again"), "\(stopped.output)")
        let hint = "resume with: trainer launch -n 2 -- train --resume run\n"
        #expect(stopped.output.contains(hint), "\(stopped.output)")
        // The same line again.
        let result = try launch(line)
        #expect(result.status == 0 && result.output.contains("launch: 2 ranks, from step "), "\(result)")
        try place.train("--micro-batches 2 --augment standard --epochs 30 --out alone")
        try place.expectSameModel("run", "alone")
    }

    /// mpirun ends with its console; what `launch` starts has none to lose.
    @Test func goesOnWithoutItsReader() throws {
        let line =
            "{ \"$0\" launch -n 2 \(Self.training) --epochs 4 --out run; echo $? >status; } | head -n 1; "
            + "exit $(cat status)"
        let result = try Command.run(["/bin/sh", "-c", line, Command.path("trainer")], in: place.path)
        #expect(result.status == 0, "\(result)")
        #expect(result.output == "launch: 2 ranks, from the beginning\n", "\(result.output)")
        let log = try place.text("run/log.txt")
        #expect(log.contains("epoch 4:") && log.contains("launch: 2 ranks, from the beginning\n"), "\(log)")
        #expect(log.contains("the console cannot be written (Broken pipe)"), "\(log)")
    }

    /// mpirun waits while its console is not read.
    @Test(.timeLimit(.minutes(1))) func goesOnWhileItsReaderSleeps() throws {
        try pretendMPIRun("yes 'a line' | head -c 300000")
        let line =
            "{ PATH=.:$PATH \"$0\" launch -n 2 -- train --out run; echo $? >status; } "
            + "| { while [ ! -s status ]; do sleep 0.1; done; head -n 2; }; exit $(cat status)"
        let result = try Command.run(["/bin/sh", "-c", line, Command.path("trainer")], in: place.path)
        #expect(result.status == 0, "\(result)")
        #expect(result.output == "launch: 2 ranks, from the beginning\na line\n", "\(result.output)")
    }

    /// Writes a program that takes mpirun's place if PATH begins with the folder.
    private func pretendMPIRun(_ script: String, name: String = "mpirun") throws {
        try place.write(Array("#!/bin/sh\n\(script)\n".utf8), name)
        chmod(place.file(name), 0o755)
    }

    /// Each start gets what is left of --max-time, not all of it again.
    @Test func theTimeIsThatOfAllStarts() throws {
        try pretendMPIRun(
            "echo mpirun \"$@\"; [ -z \"$LATER\" ] || { sleep 1; [ -e z ] && exit 0; touch z; }; "
                + "kill -KILL $$")
        let begin = ContinuousClock.now
        let result = try place.run(
            ["launch", "-n", "2", "--", "train", "--out", "run", "--max-time", "1s"],
            environment: ["PATH": "\(place.path):/usr/bin:/bin"])
        // Nothing was saved.
        #expect(result.status == 1 && ContinuousClock.now - begin < .seconds(20), "\(result)")
        #expect(result.output.contains("--max-time 1s --resume-or-start --max-time 1s\n"), "\(result.output)")
        // The pause until the next start ends with the time.
        #expect(result.output.split(separator: "mpirun -n").count == 2, "\(result.output)")
        #expect(result.output.hasSuffix("launch: the time of --max-time is over\n"), "\(result.output)")
        let later = try place.run(
            ["launch", "-n", "2", "--", "train", "--out", "run", "--max-time", "20s"],
            environment: ["PATH": "\(place.path):/usr/bin:/bin", "LATER": "1"])
        let times = later.output.matches(of: #/--max-time (\d+)s\n/#).compactMap { Int($0.1) }
        // After a second of training and one of pause.
        #expect(times.count == 2 && times[0] == 20 && (5...18).contains(times[1]), "\(later.output)")
        #expect(Supervisor.maximumTime(61.2) == ["--max-time", "62s"])
        #expect(Supervisor.maximumTime(0.2) == ["--max-time", "1s"])
    }

    /// A scheduler queues a job again after status 75 only.
    @Test func aStopBetweenTwoStarts() throws {
        try place.train("--epochs 1 --micro-batches 2 --out run")
        try pretendMPIRun("touch started; kill -KILL $$")
        let result = try place.run(
            ["launch", "-n", "2", "--", "train", "--resume", "run"],
            environment: ["PATH": "\(place.path):/usr/bin:/bin"]
        ) { launcher in
            place.await("started")
            usleep(300_000)
            kill(launcher, SIGTERM)
        }
        #expect(result.status == 75, "\(result)")
        #expect(result.output.contains("trying again in 1 s"), "\(result.output)")
        let log = try place.text("run/log.txt")
        #expect(log.hasSuffix(result.output), "\(log)")
    }

    /// mpirun's own files are removed with it; those of daemons elsewhere by the ranks of the next start.
    @Test func whatMPIRunLeavesIsRemoved() throws {
        let contact = "\"$TMPDIR\"/ompi.here.0/pid.7"
        try pretendMPIRun(
            "echo ended: $DEEP_IMAGE_ENDED_JOBS; ls \"$TMPDIR\"; [ -e again ] && exit 0; touch again; "
                + "mkdir -p \(contact); echo '3202154496.0;tcp://here' >\(contact)/contact.txt; "
                + "kill -KILL $$"
        )
        let temporary = place.file("temporary")
        // What a launcher that was killed has left, and one that still runs.
        for (name, job) in [("trainer-launch-1", 65_536 * 5), ("trainer-launch-2", 65_536 * 6)] {
            try place.write(Array("\(job).0;tcp".utf8), "temporary/\(name)/ompi.here.0/pid.7/contact.txt")
            try place.write([], "temporary/\(name)/lock")
        }
        let lock = open("\(temporary)/trainer-launch-2/lock", O_WRONLY | O_CLOEXEC)
        defer { close(lock) }
        try #require(flock(lock, LOCK_EX | LOCK_NB) == 0)
        // A launcher was killed before it had a lock. The last one has somebody's files.
        try place.makeFolder("temporary/trainer-launch-3")
        try place.write([], "temporary/trainer-launch-4/file")
        let result = try place.run(
            ["launch", "-n", "2", "--", "train", "--out", "run"],
            environment: ["PATH": "\(place.path):/usr/bin:/bin", "TMPDIR": temporary])
        #expect(result.status == 0, "\(result)")
        let told = result.output.split(separator: "\n").filter { !$0.hasPrefix("launch: ") }
        #expect(told == ["ended: 5", "lock", "ended: 5,48861", "lock"], "\(result.output)")
        #expect(try place.names("temporary") == ["trainer-launch-2", "trainer-launch-4"])
        let nowhere = try place.run(
            ["launch", "-n", "2", "--", "train", "--out", "run"], environment: ["TMPDIR": "/proc/nowhere"])
        #expect(nowhere.status == 1 && nowhere.errors.contains("set TMPDIR to a folder"), "\(nowhere)")
    }

    @Test func aRanksOwnErrorIsFinal() throws {
        let result = try launch("-n 2 -- train --data nowhere --model 8,M,F8 --image-size 16 --out run")
        #expect(result.status != 0 && !result.output.contains("trying again"), "\(result)")
        #expect(result.errors.contains("nowhere"), "\(result.errors)")
        // As late as it can come: a loss that is not finite.
        let diverging = try launch(
            "-n 2 \(Self.training) --learning-rate 1e30 --epochs 9 --out diverging")
        #expect(diverging.status == 1 && !diverging.output.contains("trying again"), "\(diverging)")
        #expect(diverging.errors.contains("the loss is not finite"), "\(diverging.errors)")
    }

    @Test func givesUpWithoutProgress() throws {
        // Each rank is killed by its limit of CPU time, long before the first checkpoint.
        let script = "ulimit -t 1; exec \"$0\" \"$@\""
        let line =
            "launch -n 2 --restarts 1 -- train --data set --image-size 64 --model vgg16 --batch 32 --out run"
        let result = try Command.run(
            ["/bin/sh", "-c", script, Command.path("trainer")] + line.split(separator: " ").map(String.init),
            in: place.path)
        #expect(result.status != 0 && result.status != 75, "\(result)")
        #expect(
            result.output.contains("in 1 s (1 of 1 without a newer checkpoint)\n"), "\(result.output)")
        #expect(result.output.contains("given up: 2 in a row without a newer checkpoint"), "\(result.output)")
    }

    @Test func mistakesAreNamed() throws {
        try place.write(Array("one slots=2\ntwo slots=x\n".utf8), "hosts")
        try place.write(Array("one\ntwo\n".utf8), "two")
        for (line, message) in [
            ("", "expected train with its options"),
            ("-n 2 -- evaluate", "found 'evaluate' after --"),
            ("-- train", "give the number of ranks by -n, or the machines by --hosts"),
            ("--hosts none -- train", "--hosts none: there is no such file"),
            ("--hosts hosts -- train", "--hosts hosts, line 2: found 'slots=x', expected NAME slots=NUMBER"),
            ("-n 2 --min-ranks 3 -- train", "--min-ranks 3: expected at most the number of ranks, 2"),
            ("-n 2 -- train --epochs none", "--epochs"),
            ("--hosts two -- train --out run --peer-timeout 2", "--peer-timeout 2: expected 3 seconds or"),
            ("-n 2 -- train --data set", "give the run's folder by --out behind train"),
            (
                "-n 2 train --data set --out run",
                "expected -- before train. Type: trainer launch -n 2 -- train --data set --out run\n"
            ),
        ] {
            let result = try launch(line)
            #expect(result.status == 2 && result.errors.contains(message), "\(line): \(result)")
            #expect(result.errors.contains("\nUsage: trainer launch [-n RANKS]"), "\(line): \(result)")
        }
        let result = try place.run(
            ["launch", "-n", "2", "--", "train", "--out", "run"], environment: ["PATH": "/nowhere"])
        #expect(result.status == 1 && result.errors.contains("install openmpi-bin"), "\(result)")
    }

    /// A run that is too small for the ranks is named before they start, with a line that works.
    @Test func aRunOfOneMicroBatch() throws {
        try place.train("--epochs 1 --out run")
        for line in ["-n 2 -- train --resume run", "-n 2 -- train --out run"] {
            let result = try launch(line)
            #expect(result.status == 2, "\(result)")
            #expect(
                result.errors.contains(
                    "-n 2: the run in run has 1 micro-batch, and each rank needs one; continue it with "
                        + "trainer --resume run,"), "\(result.errors)")
        }
        try place.succeed("--resume run --epochs 2")
    }

    // MARK: - Parts

    @Test func hostfilesAreRead() throws {
        let list = try HostList(
            parsing: "# all\na slots=4\n\nb  # one\n c slots=2 max_slots=8\n", path: "hosts")
        #expect(list.hosts.map(\.name) == ["a", "b", "c"] && list.hosts.map(\.slots) == [4, 1, 2])
        #expect(list.slots == 7)
        for text in ["", "# a\n", "a slots=0", "a 4", "a\na\n"] {
            #expect(throws: (any Error).self) { try HostList(parsing: text, path: "hosts") }
        }
    }

    @Test func slurmsTasksAreRead() throws {
        func slots(_ names: [String], _ tasks: String) -> [Int]? {
            HostList(allotted: names, tasks: tasks)?.hosts.map(\.slots)
        }
        #expect(slots(["a", "b", "c"], "4(x2),3") == [4, 4, 3])
        #expect(slots(["a"], "12") == [12] && slots(["a", "b"], "1,2") == [1, 2])
        for tasks in ["", "4", "4(x3)", "4(x2", "0,1", "4,", "x(2)"] {
            #expect(slots(["a", "b"], tasks) == nil, "\(tasks)")
        }
    }

    /// The line of a batch script has neither --hosts nor --interface.
    @Test func slurmsMachinesAreUsed() throws {
        try pretendMPIRun("echo mpirun \"$@\"")
        try pretendMPIRun(
            "test \"$*\" = 'show hostnames node[1-2]' && echo node1 && echo node2", name: "scontrol")
        var variables = [
            "PATH": "\(place.path):/usr/bin:/bin", "SLURM_JOB_ID": "7", "SLURM_NTASKS": "6",
            "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "4,2",
        ]
        let several = try place.run(["launch", "--", "train", "--out", "run"], environment: variables)
        #expect(several.status == 0, "\(several)")
        for part in [
            "launch: 6 ranks on node1, node2, from", "-n 6 --bind-to none ", " --host node1:4,node2:2 ",
            " oob_tcp_keepalive_time 26 ",
        ] { #expect(several.output.contains(part), "\(several.output)") }
        #expect(!several.output.contains("--oversubscribe"), "\(several.output)")
        let many = try place.run(
            ["launch", "-n", "7", "--", "train", "--out", "run"], environment: variables)
        #expect(many.status == 2 && many.errors.contains("Slurm has allotted 6 tasks"), "\(many)")
        // Without scontrol mpirun still knows the allocation.
        variables["SLURM_JOB_NODELIST"] = "other"
        let unknown = try place.run(["launch", "--", "train", "--out", "run"], environment: variables)
        #expect(unknown.status == 0 && unknown.output.contains("launch: 6 ranks, from"), "\(unknown)")
    }

    @Test func machinesThatDoNotAnswerAreLeftOut() throws {
        // The loopback interface refuses or accepts; the name of the other machine is reserved for failing.
        let probed = try HostList(parsing: "localhost slots=2\nnowhere.invalid\n", path: "").probed()
        #expect(probed.answering.hosts.map(\.name) == ["localhost"] && probed.silent == ["nowhere.invalid"])
    }

    @Test func mpirunGetsWhatTheMachinesNeed() throws {
        let hosts = try HostList(parsing: "a slots=2\nb slots=2\n", path: "")
        let program = ["trainer"]
        let network = "10.0.0.0/24"
        let several = MPIRun(
            ranks: 4, hosts: hosts, interface: network, peerTimeout: 30, exported: ["X"], command: program)
        let line = several.arguments(asRoot: true, cores: 2).joined(separator: " ")
        for part in [
            "mpirun -n 4 --bind-to none --allow-run-as-root --host a:2,b:2 ",
            "--mca btl_tcp_if_include 10.0.0.0/24",
            "--mca oob_tcp_if_include 10.0.0.0/24", " -x X trainer",
        ] { #expect(line.contains(part), "\(line)") }
        #expect(line.contains("odls_base_sigkill_timeout 60"), "rank 0 is elsewhere")
        let one = MPIRun(
            ranks: 4, hosts: nil, interface: nil, peerTimeout: 30, exported: [], command: program)
        #expect(one.arguments(asRoot: false, cores: 2).contains("--oversubscribe"))
        #expect(!one.arguments(asRoot: false, cores: 4).contains("--oversubscribe"))
        #expect(
            !one.arguments(asRoot: false, cores: 2).contains {
                $0.contains("tcp") || $0 == "--allow-run-as-root"
            })
    }

    /// A lost machine is noticed before the ranks give it up, whatever their patience.
    @Test(arguments: [3.0, 4, 5, 8, 30, 600]) func keepaliveEndsBeforeThePeerTimeout(timeout: Double) throws {
        let hosts = try HostList(parsing: "a\nb\n", path: "")
        let words = MPIRun(
            ranks: 2, hosts: hosts, interface: nil, peerTimeout: timeout, exported: [], command: []
        ).arguments(asRoot: false, cores: 2)
        func value(_ name: String) throws -> Double {
            let index = try #require(words.firstIndex(of: "oob_tcp_keepalive_" + name))
            return try #require(Double(words[index + 1]))
        }
        let seconds = try value("time") + value("intvl") * value("probes")
        #expect(seconds <= timeout - 1, "\(seconds)")
    }

    @Test func onlyLossesAreTriedAgain() {
        func report(_ end: RankReport.End) -> RankReport { RankReport(end, "why") }
        func isFinal(_ status: Int32, _ reports: [RankReport]) -> Int32? {
            if case .final(let status) = Supervisor.outcome(status: status, reports: reports) {
                status
            } else {
                nil
            }
        }
        #expect(isFinal(0, []) == 0)
        #expect(isFinal(1, []) == 1 && isFinal(2, []) == 2 && isFinal(75, []) == 75)
        #expect(isFinal(1, [report(.stopped)]) == 75)
        #expect(isFinal(1, [report(.lostRanks)]) == nil)
        // mpirun sends SIGTERM to the ranks when it loses a machine.
        #expect(isFinal(75, [report(.terminated)]) == nil && isFinal(1, [report(.terminated)]) == nil)
        let asked = Supervisor.outcome(status: 1, reports: [report(.terminated)], stop: SIGTERM)
        #expect(asked == .final(status: 75))
        // Without a shared disk there is no report.
        let elsewhere = Supervisor.Outcome.lost(
            status: 76, reason: "a rank on another machine reports a loss")
        #expect(
            Supervisor.outcome(status: 76, reports: []) == elsewhere && isFinal(76, [report(.failed)]) == 1)
        #expect(isFinal(1, [report(.lostRanks), report(.failed)]) == 1)
        for status: Int32 in [9, 137, 205, 143] { #expect(isFinal(status, []) == nil, "\(status)") }
        // A machine was lost while mpirun started its daemons.
        let early = Supervisor.outcome(status: 1, reports: [], hasStarted: false)
        #expect(early == .lost(status: 1, reason: "mpirun has not started the ranks"))
        #expect(
            Supervisor.outcome(status: 1, reports: [report(.failed)], hasStarted: false) == .final(status: 1))
        let stopped = Supervisor.outcome(status: 143, reports: [report(.lostRanks)], stop: SIGUSR1)
        #expect(stopped == .final(status: 128 + SIGUSR1))
        let saved = Supervisor.outcome(
            status: 143, reports: [report(.lostRanks)], stop: SIGUSR1, hasCheckpoint: true)
        #expect(saved == .final(status: 75))
        for status: Int32 in [132, 134, 139] { #expect(isFinal(status, []) == status) }
    }
}
