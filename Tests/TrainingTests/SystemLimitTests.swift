import Foundation
import TestSupport
import Testing

/// Limits of the system that are too low for a command, which it names by their true cause.
@Suite(.serialized) struct SystemLimitTests {
    let place: Workplace
    private static let training = "train " + Workplace.small.joined(separator: " ") + " --epochs 1 --out run"
    private static let launching = "launch -n 2 --restarts 0 -- " + training + " --micro-batches 2"

    init() throws { place = try Workplace() }

    /// With fewer open files mpirun hangs.
    @Test func aLowLimitOfOpenFilesIsNamed() throws {
        let result = try Command.run(
            [
                "/bin/sh", "-c", "ulimit -n 30; exec \"$0\" launch -n 2 -- train --out run",
                Command.path("trainer"),
            ],
            in: place.path)
        #expect(result.status == 1, "\(result)")
        #expect(result.errors.contains("30 open files are allowed here"), "\(result.errors)")
    }

    /// With fewer threads mpirun crashes; Foundation's threads would never run.
    @Test(arguments: [("launch -n 2 -- train --out run", "ranks"), ("train --data set --out run", "")])
    func aLowLimitOfThreadsIsNamed(line: String, purpose: String) throws {
        // Root has no such limit.
        let user = getuid() == 0 ? ["setpriv", "--reuid=65534", "--clear-groups"] : []
        let result = try Command.run(
            ["/usr/bin/env"] + user + ["prlimit", "--nproc=3", Command.path("trainer")]
                + line.split(separator: " ").map(String.init),
            in: place.path)
        #expect(result.status == 1, "\(result)")
        #expect(result.errors.contains("the system allows no thread for the \(purpose)"), "\(result.errors)")
    }

    /// Swift crashes with such a stack, so the limit is named before anything else.
    ///
    /// The environment lies in it too.
    @Test(arguments: [16, 20, 64]) func aTinyStackIsNamed(kibibytes: Int) throws {
        let result = try Command.run(
            [
                "/usr/bin/env", "-i", "/bin/sh", "-c", "ulimit -s \(kibibytes); exec \"$0\" --version",
                Command.path("trainer"),
            ], in: place.path)
        let expected =
            "error: the stack is limited to \(kibibytes) KiB here, and this program needs 512 KiB; raise the "
            + "limit by ulimit -s 8192\n"
        #expect(result.status == 1 && result.errors == expected, "\(result)")
    }

    private static let lowLimits = [
        "-v 100000", "-v 400000", "-v 800000", "-v 1000000", "-v 1200000", "-s 64", "-s 256", "-s 512",
        "-s 100000000", "-n 8", "-n 40", "-f 1000",
    ]

    /// Each command works, or says in one sentence which limit is too low.
    @Test(.timeLimit(.minutes(3)), arguments: lowLimits)
    func lowLimitsAreNamed(limit: String) throws {
        let remedy = "ulimit " + limit.prefix(2)
        // A shell of POSIX counts half kibibytes.
        let failed = try ["devices", Self.training, Self.launching].map { line in
            try? FileManager.default.removeItem(atPath: place.file("run"))
            let result = try Command.run(
                ["/bin/sh", "-c", "ulimit \(limit); exec \"$0\" \"$@\"", Command.path("trainer")]
                    + line.split(separator: " ").map(String.init), in: place.path)
            if result.status == 0 { return false }
            let errors = result.errors.split(separator: "\n").filter { $0.contains("error: ") }
            #expect(result.status == 1 && errors.count == 1, "\(limit), \(line): \(result)")
            #expect(errors.allSatisfy { $0.contains(remedy) }, "\(limit), \(line): \(result)")
            return true
        }
        // launch needs most.
        if limit.hasPrefix("-v 4") || limit == "-s 64" { #expect(failed == [true, true, true]) }
        if limit == "-s 512" || limit == "-s 100000000" { #expect(failed == [false, false, false]) }
        if limit == "-f 1000" || limit == "-n 40" { #expect(failed.last == true) }
    }

    /// A network for which the memory does not suffice is refused before it is allocated.
    @Test func aLimitThatLeavesNoRoomForTheNetwork() throws {
        let result = try Command.run(
            [
                "/bin/sh", "-c", "ulimit -v 1200000; exec \"$0\" \"$@\"", Command.path("trainer"), "train",
                "--data", "set", "--model", "vgg16", "--image-size", "64", "--batch", "8", "--device", "cpu",
                "--out", "run",
            ], in: place.path)
        #expect(result.status == 1, "\(result)")
        #expect(
            result.errors.contains(
                "the network does not fit the device, because this process's address space"),
            "\(result.errors)")
    }
}
