import Foundation

/// The command line of mpirun for a training.
struct MPIRun {
    /// The ranks to start.
    let ranks: Int
    /// The machines; nil for this one, or for what the scheduler has allotted.
    let hosts: HostList?
    /// The network interface, or the addresses such as 10.0.0.0/24, that connect the machines.
    let interface: String?
    /// Seconds of silence after which the ranks give up one of them.
    let peerTimeout: Double
    /// The variables that remote ranks need.
    let exported: [String]
    /// The program and its arguments.
    let command: [String]

    /// Returns the words that every start needs: all cores for each rank, also for root.
    static func start(_ ranks: Int, launcher: [String] = ["mpirun"], asRoot: Bool) -> [String] {
        launcher + ["-n", "\(ranks)", "--bind-to", "none"] + (asRoot ? ["--allow-run-as-root"] : [])
    }

    /// Returns the words of the command line.
    func arguments(asRoot: Bool, cores: Int) -> [String] {
        var words = MPIRun.start(ranks, asRoot: asRoot)
        var settings: [String: String] = [:]
        if let hosts {
            // A stop reaches ranks elsewhere through mpirun, which sleeps for so long before it kills them.
            if !hosts.beginsHere { settings["odls_base_sigkill_timeout"] = "60" }
            words += ["--host", hosts.hosts.map { "\($0.name):\($0.slots)" }.joined(separator: ",")]
        } else {
            // The ranks say what is wrong; mpirun adds a page about exit statuses.
            words.append("--quiet")
            if ranks > cores, interface == nil { words.append("--oversubscribe") }
        }
        if hosts != nil || interface != nil {
            // A machine's daemon must be missed before the ranks end the job: their request travels over the
            // same connection, which is not tested while data wait there.
            let time = max(1, Int(peerTimeout) - 4)
            settings["oob_tcp_keepalive_time"] = "\(time)"
            settings["oob_tcp_keepalive_intvl"] = "1"
            settings["oob_tcp_keepalive_probes"] = "\(peerTimeout >= 5 ? 3 : 1)"
            if let interface {
                settings["btl_tcp_if_include"] = interface
                settings["oob_tcp_if_include"] = interface
            }
        }
        for (name, value) in settings.sorted(by: { $0.key < $1.key }) { words += ["--mca", name, value] }
        for name in exported { words += ["-x", name] }
        return words + command
    }
}
