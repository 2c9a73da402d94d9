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

    private init(_ hosts: [Host]) { self.hosts = hosts }

    /// Returns the machines that answer over the network, and the names of those that do not.
    func probed() -> (answering: HostList, silent: [String]) {
        let connections = hosts.map { HostList.beginConnection(to: $0.name) }
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
        return (HostList(hosts.filter { !silent.contains($0.name) }), silent)
    }

    /// Seconds that a machine has to answer.
    private static let patience = 3.0

    /// Begins to connect to ssh's port; returns the socket, or -1 if there is no such machine.
    private static func beginConnection(to name: String) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(name, "22", &hints, &found) == 0, let first = found else { return -1 }
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
