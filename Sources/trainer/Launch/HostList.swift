import ArgumentParser
import Collectives
import Foundation

/// The machines of a job, with the number of ranks for each.
struct HostList: Equatable {
    struct Host: Equatable {
        let name: String
        let slots: Int
    }

    var hosts: [Host]
    /// Where a machine is asked whether it is there: ssh's port, or that of Slurm's daemon.
    private var port = "22"

    /// Whether the first machine, which has rank 0, is this one.
    var beginsHere: Bool {
        let own = ProcessInfo.processInfo.hostName
        return hosts.first.map {
            [own, String(own.prefix { $0 != "." }), "localhost", "127.0.0.1"].contains($0.name)
        } ?? false
    }

    var slots: Int { hosts.reduce(0) { $0 + $1.slots } }

    /// Reads a hostfile of Open MPI: a line `NAME` or `NAME slots=4` for each machine; `#` begins a comment.
    init(parsing text: String, path: String) throws {
        hosts = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let words = line.prefix { $0 != "#" }.split { $0.isWhitespace }.map(String.init)
            guard let name = words.first else { continue }
            var slots = 1
            for word in words.dropFirst() {
                let parts = word.split(separator: "=", omittingEmptySubsequences: false)
                guard parts.count == 2, ["slots", "max_slots", "max-slots"].contains(parts[0]),
                    let number = Int(parts[1]), number > 0
                else {
                    throw ValidationError(
                        "--hosts \(path), line \(index + 1): found '\(word)', expected NAME slots=NUMBER")
                }
                if parts[0] == "slots" { slots = number }
            }
            if hosts.contains(where: { $0.name == name }) {
                throw ValidationError("--hosts \(path), line \(index + 1): \(name) is named twice")
            }
            hosts.append(Host(name: name, slots: slots))
        }
        if hosts.isEmpty { throw ValidationError("--hosts \(path): expected a line NAME slots=NUMBER") }
    }

    init(path: String) throws {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw ValidationError("--hosts \(path): there is no such file, or it cannot be read")
        }
        try self.init(parsing: String(decoding: data, as: UTF8.self), path: path)
    }

    /// Makes the list of what Slurm has allotted.
    ///
    /// - Parameters:
    ///   - names: one for each machine
    ///   - tasks: the numbers of ranks, as in SLURM_TASKS_PER_NODE: `4(x2),3`
    /// - Returns: nil if these do not fit together
    init?(allotted names: [String], tasks: String) {
        var slots = [Int]()
        for part in tasks.split(separator: ",", omittingEmptySubsequences: false) {
            guard let match = part.wholeMatch(of: #/(\d{1,6})(?:\(x(\d{1,6})\))?/#),
                let number = Int(match.1), number > 0, let times = Int(match.2 ?? "1")
            else { return nil }
            slots += Array(repeating: number, count: times)
        }
        guard !names.isEmpty, slots.count == names.count else { return nil }
        hosts = zip(names, slots).map { Host(name: $0, slots: $1) }
        port = "6818"
    }

    /// Returns the machines that Slurm has allotted; nil without Slurm, or for a single machine.
    static func allotted(_ environment: [String: String] = ProcessInfo.processInfo.environment) -> HostList? {
        guard let nodes = environment["SLURM_JOB_NODELIST"],
            let tasks = environment["SLURM_TASKS_PER_NODE"],
            let names = output(of: ["scontrol", "show", "hostnames", nodes])
        else { return nil }
        let list = HostList(
            allotted: names.split(whereSeparator: \.isWhitespace).map(String.init), tasks: tasks)
        return list.flatMap { $0.hosts.count > 1 ? $0 : nil }
    }

    private static func output(of command: [String]) -> String? {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = pipe
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return nil }
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return process.terminationStatus == 0 ? String(decoding: data, as: UTF8.self) : nil
    }

    /// Returns the machines that answer over the network, and the names of those that do not.
    func probed() -> (answering: HostList, silent: [String]) {
        let connections = hosts.map { HostList.beginConnection(to: $0.name, port: port) }
        defer { for connection in connections where connection >= 0 { close(connection) } }
        var polled = connections.map { pollfd(fd: $0, events: Int16(POLLOUT), revents: 0) }
        let end = Clock.seconds + HostList.patience
        while polled.contains(where: { $0.fd >= 0 }), Clock.seconds < end {
            guard poll(&polled, nfds_t(polled.count), 100) > 0 else { continue }
            // What has ended needs no more attention: poll passes over negative descriptors.
            for index in polled.indices where polled[index].revents != 0 { polled[index].fd = -1 }
        }
        var silent = [String]()
        for (host, connection) in zip(hosts, connections) where !HostList.hasAnswered(connection) {
            silent.append(host.name)
        }
        var answering = self
        answering.hosts.removeAll { silent.contains($0.name) }
        return (answering, silent)
    }

    /// Seconds that a machine has to answer.
    private static let patience = 3.0

    /// Begins to connect; returns the socket, or -1 if there is no such machine.
    private static func beginConnection(to name: String, port: String) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(name, port, &hints, &found) == 0, let first = found else { return -1 }
        defer { freeaddrinfo(first) }
        let connection = socket(
            first.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        _ = connect(connection, first.pointee.ai_addr, first.pointee.ai_addrlen)
        return connection
    }

    /// Whether a connection is made, or refused, which only a machine that is there does.
    private static func hasAnswered(_ connection: Int32) -> Bool {
        guard connection >= 0 else { return false }
        var code: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(connection, SOL_SOCKET, SO_ERROR, &code, &size)
        if code == ECONNREFUSED { return true }
        var peer = sockaddr_storage()
        size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutableBytes(of: &peer) {
            getpeername(connection, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), &size)
        } == 0
    }
}
