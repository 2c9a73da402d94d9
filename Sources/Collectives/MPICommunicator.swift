import Basics
import CMPI
import Foundation

/// Connects the ranks of a job that mpirun (or Slurm's srun) started, over Open MPI.
public final class MPICommunicator: Communicator, @unchecked Sendable {
    public let rank: Int
    public let size: Int
    public let nodes: [[Int]]
    /// Carries the messages of `gather`.
    private let control: cmpi_comm?
    private var heartbeat: Heartbeat?
    private let peerTimeout: Double
    /// The open windows, which all ranks free together after success; a failed rank must not wait for that.
    private var windows: [MPIWindow] = []

    /// The number of ranks according to the launcher's environment variables; 1 without a launcher.
    public static var launchedRanks: Int {
        // Slurm sets its own variables in a batch script as well; a rank of srun has PMIx's too.
        number(
            ["OMPI_COMM_WORLD_SIZE"]
                + (number(["PMIX_RANK"]) == nil ? [] : ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"])) ?? 1
    }

    /// This process's rank according to the launcher.
    public static var launchedRank: Int { number(["OMPI_COMM_WORLD_RANK", "PMIX_RANK"]) ?? 0 }

    private static func number(_ variables: [String]) -> Int? {
        variables.lazy.compactMap { ProcessInfo.processInfo.environment[$0].flatMap { Int($0) } }.first
    }

    /// Joins the job; called once per process.
    ///
    /// - Parameters:
    ///   - peerTimeout: seconds after which a silent rank ends the job
    ///   - startHint: what to try if not all ranks start in time, in which case nothing is thrown
    /// - Throws: `CollectiveError` if Open MPI does not exist or fails
    public init(peerTimeout: Double, startHint: String = "") throws {
        if let problem = cmpi_open() {
            throw CollectiveError(
                "this was started as one of \(MPICommunicator.launchedRanks) ranks, but Open MPI cannot be "
                    + "used here (\(String(cString: problem)))", kind: .noMPI)
        }
        self.peerTimeout = peerTimeout
        EndedJobs.removeFiles()
        var isThreaded: Int32 = 0
        // Many ranks may take a while to load the program.
        let isStarted = try Watchdog(
            "not all ranks have started", seconds: max(60, peerTimeout), hint: startHint)
        defer { isStarted.cancel() }
        try mpiCheck(cmpi_init(&isThreaded), "starting MPI")
        guard isThreaded != 0 else {
            throw CollectiveError("this MPI was built without support for threads (MPI_THREAD_MULTIPLE)")
        }
        /// Returns this process's rank in a communicator, and the number of ranks.
        func place(in comm: cmpi_comm?) throws -> (rank: Int, size: Int) {
            var rank: Int32 = 0
            var size: Int32 = 0
            try mpiCheck(cmpi_rank(comm, &rank), "asking MPI for the rank")
            try mpiCheck(cmpi_size(comm, &size), "asking MPI for the number of ranks")
            return (Int(rank), Int(size))
        }
        func gather(_ value: Int, over comm: cmpi_comm?) throws -> [Int] {
            let (rank, size) = try place(in: comm)
            let all = try MPICommunicator.gather(bytesOf([value]), rank: rank, size: size, comm: comm)
            return all.flatMap { valuesOf($0) as [Int] }
        }
        (rank, size) = try place(in: cmpi_world())
        control = try MPICommunicator.split(color: 0, key: rank)
        var node: cmpi_comm?
        try mpiCheck(cmpi_split_node(cmpi_world(), &node), "asking MPI for the ranks of this node")
        // The lowest rank of a node names it.
        let leaders = try gather(gather(rank, over: node).min() ?? 0, over: control)
        nodes = Set(leaders).sorted().map { leader in leaders.indices.filter { leaders[$0] == leader } }
        let beats = try MPICommunicator.split(color: 0, key: rank)
        heartbeat = try Heartbeat(rank: rank, size: size, comm: beats, timeout: peerTimeout)
    }

    /// Returns a communicator of the ranks with this color, in the order of their keys; all ranks call it.
    private static func split(color: Int, key: Int) throws -> cmpi_comm? {
        var comm: cmpi_comm?
        try mpiCheck(
            cmpi_split(cmpi_world(), Int32(color), Int32(key), &comm), "opening a channel between the ranks")
        return comm
    }

    /// Removes the files in /dev/shm that Open MPI opened between the ranks; an aborted job leaves some.
    static func unlinkSharedFiles() {
        let paths = Set(
            SystemFile.text("/proc/self/maps").split(separator: "\n").compactMap { line in
                line.range(of: "/dev/shm/").map { line[$0.lowerBound...] }
            })
        // The names of the shared memory of its messages and windows, in versions 4 and 5.
        for path in paths
        where ["vader_segment.", "sm_segment.", "osc_"].contains(where: { path.hasPrefix("/dev/shm/" + $0) })
        { unlink(String(path)) }
    }

    public func gather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        try MPICommunicator.gather(bytes, rank: rank, size: size, comm: control)
    }

    private static func gather(_ bytes: [UInt8], rank: Int, size: Int, comm: cmpi_comm?) throws -> [[UInt8]] {
        // The lengths first, then the bytes.
        let lengths = try exchange(
            bytesOf([bytes.count]), Array(repeating: 8, count: size), rank, comm, tag: 1)
        let counts = lengths.flatMap { valuesOf($0) as [Int] }
        return try exchange(bytes, counts, rank, comm, tag: 2)
    }

    private static func exchange(
        _ bytes: [UInt8], _ counts: [Int], _ rank: Int, _ comm: cmpi_comm?, tag: Int
    ) throws -> [[UInt8]] {
        let own = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, bytes.count), alignment: 16)
        own.copyBytes(from: bytes)
        let buffers = counts.map {
            UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, $0), alignment: 16)
        }
        defer {
            own.deallocate()
            for buffer in buffers { buffer.deallocate() }
        }
        var messages = MessagesUnderWay(comm: comm)
        for peer in counts.indices where peer != rank {
            try messages.receive(
                buffers[peer].baseAddress, count: counts[peer], from: peer, tag: tag, group: 0)
            try messages.send(own.baseAddress, count: bytes.count, to: peer, tag: tag, group: 0)
        }
        var backoff = Backoff()
        while !messages.areDone(0) {
            try messages.poll()
            backoff.pause(unless: messages.areDone(0))
        }
        return counts.indices.map { $0 == rank ? bytes : Array(buffers[$0].prefix(counts[$0])) }
    }

    public func transport(_ kind: TransportKind, group: [Int], byteCount: Int, channels: Int) throws
        -> any Transport
    {
        let member = member(of: group)
        if kind == .sendrecv {
            let comm = try MPICommunicator.split(color: group[0], key: member)
            return MPIMessages(comm: comm, byteCount: byteCount)
        }
        try requireSharedMemory(
            MPIWindow.byteCount(block: byteCount, channels: channels, members: group.count))
        // Windows are opened by all ranks, or all of a node: Open MPI 4.1 names their files by a number that
        // groups opened side by side share.
        let comm = try MPICommunicator.split(color: kind == .shared ? node[0] : 0, key: rank)
        let peers = kind == .shared ? group.compactMap { node.firstIndex(of: $0) } : group
        guard peers.count == group.count else { throw CollectiveError("ranks \(group) share no memory") }
        let window = try MPIWindow(
            comm: comm, isShared: kind == .shared, member: member, peers: peers.map { Int32($0) },
            byteCount: byteCount, channels: channels
        ) {
            let all = try self.gather([$0])
            return group.map { all[$0][0] }
        }
        windows.append(window)
        return window
    }

    /// Frees the memory of all transports; every rank calls it, when no rank uses them any more.
    public func freeWindows() throws {
        for window in windows { try window.free() }
        windows = []
    }

    /// Checks that /dev/shm has room for windows of this size, because a write to a full one kills a process.
    private func requireSharedMemory(_ byteCount: Int) throws {
        var status = statvfs()
        // All ranks look before any of them allocates.
        let room = statvfs("/dev/shm", &status) == 0 ? Int(status.f_bavail) * Int(status.f_frsize) : Int.max
        let all = try gather([byteCount, room])
        let needed = node.reduce(0) { $0 + all[$1][0] }
        let free = node.map { all[$0][1] }.min() ?? room
        guard needed <= free else {
            throw CollectiveError(
                "/dev/shm has \(free >> 20) MiB left, and the windows of this node's \(node.count) ranks "
                    + "need \(needed >> 20) MiB; enlarge it (mount -o remount,size=… /dev/shm, or a "
                    + "container's shm-size), use fewer ranks per node, or the transport sendrecv")
        }
    }

    /// Adds arrays of all ranks with MPI's own all-reduce, for comparison, and waits inside the library.
    public func allReduce(_ values: UnsafePointer<Float>, into sums: UnsafeMutablePointer<Float>, count: Int)
        throws
    { try mpiCheck(cmpi_allreduce_sum(values, sums, Int32(count), cmpi_world()), "MPI_Allreduce") }

    /// Does the same without waiting inside the library.
    public func allReduceAsynchronously(
        _ values: UnsafePointer<Float>, into sums: UnsafeMutablePointer<Float>, count: Int
    ) throws {
        var request: cmpi_request?
        try mpiCheck(
            cmpi_iallreduce_sum(values, sums, Int32(count), cmpi_world(), &request), "MPI_Iallreduce")
        var done: Int32 = 0
        while done == 0 { try mpiCheck(cmpi_test(&request, &done), "MPI_Iallreduce") }
    }

    /// Leaves the job after success; MPI must not be used afterwards.
    public func finish() throws {
        try barrier()
        try freeWindows()
        heartbeat?.stop()
        heartbeat = nil
        let isFinished = try Watchdog(
            "the work is done and saved, but not all ranks have ended", seconds: peerTimeout)
        defer { isFinished.cancel() }
        try mpiCheck(cmpi_finalize(), "leaving MPI")
    }

    /// Ends all ranks of the job.
    public static func abort(status: Int32) -> Never {
        unlinkSharedFiles()
        cmpi_abort(status)
        exit(status)
    }
}

func mpiCheck(_ code: Int32, _ action: @autoclosure () -> String) throws {
    guard code != 0 else { return }
    var text = [CChar](repeating: 0, count: 256)
    cmpi_error(code, &text)
    let reason = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    throw CollectiveError("\(action()): \(reason)", kind: .lostConnection)
}

/// Transports bytes by one-sided windows, or by memory that a node's ranks share.
///
/// A message's number is written behind the block, on a line of 64 bytes for each channel and sender.
private final class MPIWindow: Transport {
    let memory: UnsafeMutableRawPointer
    private var window: cmpi_window?
    private let isShared: Bool
    private let member: Int
    private let count: Int
    private let numbers: Int
    /// The bytes from the window's base to the block, on each rank.
    private let origins: [Int]
    /// The group's members, as the window counts ranks.
    private let peers: [Int32]
    /// The addresses of their blocks in this process, if they share memory.
    private var blocks: [UnsafeMutableRawPointer] = []

    init(
        comm: cmpi_comm?, isShared: Bool, member: Int, peers: [Int32], byteCount: Int, channels: Int,
        gather: (Int) throws -> [Int]
    ) throws {
        self.isShared = isShared
        self.member = member
        self.peers = peers
        let count = peers.count
        self.count = count
        numbers = byteCount.roundedUp(to: 64)
        let size = MPIWindow.byteCount(block: byteCount, channels: channels, members: count)
        var base: UnsafeMutableRawPointer?
        let code = cmpi_window_allocate(isShared ? 1 : 0, size, comm, &base, &window)
        let start = base?.alignedUp(toMultipleOf: 4096)
        // Touches every page, so that the next window's check of /dev/shm counts this one.
        if code == 0, let base { base.initializeMemory(as: UInt8.self, repeating: 0, count: size) }
        let origin = if code == 0, let base, let start { start - base } else { -1 }
        origins = try gather(origin)
        guard let start, !origins.contains(-1) else {
            var text = "it failed on another rank"
            do { try mpiCheck(code, "opening a window of \(size) bytes") } catch { text = "\(error)" }
            throw WindowsUnavailable(description: "MPI opens no windows between the ranks here (\(text))")
        }
        memory = start
        if isShared {
            blocks = try (0..<count).map { peer in
                var place: UnsafeMutableRawPointer?
                try mpiCheck(
                    cmpi_window_shared_memory(window, peers[peer], &place),
                    "finding the memory of a rank of this node")
                guard let place else {
                    throw CollectiveError("MPI does not say where the memory of a rank of this node is")
                }
                return place + origins[peer]
            }
        }
    }

    func free() throws { try mpiCheck(cmpi_window_free(&window), "closing a window to the other ranks") }

    /// Returns the bytes of a window: the block, the numbers behind it, and room to align its start.
    static func byteCount(block: Int, channels: Int, members: Int) -> Int {
        block.roundedUp(to: 64) + channels * members * 64 + 4096
    }

    func memory(of peer: Int) -> UnsafeMutableRawPointer? { isShared ? blocks[peer] : nil }

    func write(_ bytes: UnsafeRawBufferPointer, to peer: Int, at offset: Int, channel: Int) throws {
        guard let base = bytes.baseAddress else { return }
        if isShared {
            (blocks[peer] + offset).copyMemory(from: base, byteCount: bytes.count)
        } else {
            try mpiCheck(
                cmpi_put(base, Int32(bytes.count), peers[peer], origins[peer] + offset, window),
                "putting to another rank")
        }
    }

    private func place(_ channel: Int, _ sender: Int) -> Int { numbers + (channel * count + sender) * 64 }

    func signal(_ peer: Int, channel: Int, number: UInt64) throws {
        if isShared { return cmpi_store_release(blocks[peer] + place(channel, member), number) }
        try mpiCheck(cmpi_flush(peers[peer], window), "putting to another rank")
        var number = number
        try mpiCheck(
            cmpi_put_number(&number, peers[peer], origins[peer] + place(channel, member), window),
            "signalling another rank")
        try mpiCheck(cmpi_flush(peers[peer], window), "signalling another rank")
    }

    func expect(_ byteCount: Int, from peer: Int, at offset: Int, channel: Int) throws {}

    func hasArrived(from peer: Int, channel: Int, number: UInt64) throws -> Bool {
        let hasArrived = cmpi_load_acquire(memory + place(channel, peer)) >= number
        if !isShared { try mpiCheck(cmpi_synchronize(window), "receiving from another rank") }
        return hasArrived
    }

    func isQuiet(channel: Int) throws -> Bool { true }
}

/// Messages that have been started, in groups that a number names.
private struct MessagesUnderWay {
    let comm: cmpi_comm?
    /// The messages of groups for which `areDone` has not been called yet.
    private var started: [Int: [cmpi_request?]] = [:]
    /// The messages of the other groups, and their groups.
    private var tested: (requests: [cmpi_request?], groups: [Int]) = ([], [])
    /// The tested messages of each group that are under way.
    private var missing: [Int: Int] = [:]

    init(comm: cmpi_comm?) { self.comm = comm }

    mutating func send(_ bytes: UnsafeRawPointer?, count: Int, to peer: Int, tag: Int, group: Int) throws {
        var request: cmpi_request?
        try mpiCheck(
            cmpi_send(bytes, Int32(count), Int32(peer), Int32(tag), comm, &request), "sending to rank \(peer)"
        )
        started[group, default: []].append(request)
    }

    mutating func receive(
        _ bytes: UnsafeMutableRawPointer?, count: Int, from peer: Int, tag: Int, group: Int
    ) throws {
        var request: cmpi_request?
        try mpiCheck(
            cmpi_receive(bytes, Int32(count), Int32(peer), Int32(tag), comm, &request),
            "receiving from rank \(peer)")
        started[group, default: []].append(request)
    }

    /// Returns whether the last `poll` found all messages of a group done; from now on it looks for them.
    mutating func areDone(_ group: Int) -> Bool {
        if let requests = started.removeValue(forKey: group) {
            tested.requests += requests
            tested.groups += requests.map { _ in group }
            missing[group, default: 0] += requests.count
        }
        return missing[group] == nil
    }

    /// Checks which messages are done, without waiting.
    ///
    /// One call of MPI tests all of them, because each call that finds nothing asks the system about every
    /// connection.
    mutating func poll() throws {
        guard !tested.requests.isEmpty else { return }
        var done = [Int32](repeating: 0, count: tested.requests.count)
        var count: Int32 = 0
        try mpiCheck(
            cmpi_test_some(Int32(tested.requests.count), &tested.requests, &count, &done),
            "exchanging messages between the ranks")
        // From the last, so that the places of the others stay.
        for index in done.prefix(Int(max(0, count))).map(Int.init).sorted(by: >) {
            let group = tested.groups[index]
            missing[group] = missing[group].flatMap { $0 > 1 ? $0 - 1 : nil }
            tested.requests.remove(at: index)
            tested.groups.remove(at: index)
        }
    }
}

/// Transports bytes by messages; a channel is a tag.
private final class MPIMessages: Transport {
    let memory: UnsafeMutableRawPointer
    private var receives, sends: MessagesUnderWay

    init(comm: cmpi_comm?, byteCount: Int) {
        receives = MessagesUnderWay(comm: comm)
        sends = MessagesUnderWay(comm: comm)
        memory = .allocate(byteCount: byteCount, alignment: 4096)
    }

    deinit { memory.deallocate() }

    func memory(of peer: Int) -> UnsafeMutableRawPointer? { nil }

    func write(_ bytes: UnsafeRawBufferPointer, to peer: Int, at offset: Int, channel: Int) throws {
        try sends.send(bytes.baseAddress, count: bytes.count, to: peer, tag: channel, group: channel)
    }

    func signal(_ peer: Int, channel: Int, number: UInt64) throws {}

    private func group(_ channel: Int, _ peer: Int) -> Int { channel << 20 | peer }

    func expect(_ byteCount: Int, from peer: Int, at offset: Int, channel: Int) throws {
        try receives.receive(
            memory + offset, count: byteCount, from: peer, tag: channel, group: group(channel, peer))
    }

    func hasArrived(from peer: Int, channel: Int, number: UInt64) throws -> Bool {
        receives.areDone(group(channel, peer))
    }

    func isQuiet(channel: Int) throws -> Bool { sends.areDone(channel) }

    func poll() throws {
        try receives.poll()
        try sends.poll()
    }
}

/// Says that the fabric has no windows; every rank gets this error.
public struct WindowsUnavailable: Error, CustomStringConvertible { public let description: String }
