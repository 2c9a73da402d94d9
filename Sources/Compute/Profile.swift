import COpenCL

/// Collects the device's timing of each launch, under the label and pass that were set when it was queued.
public final class Profile {
    /// Holds the seconds of one kernel's launches under one label and pass.
    public struct Entry {
        public let label: String
        public let pass: String
        public let kernel: String
        public let seconds: Double
        public let launches: Int
    }

    /// Holds one launch, in seconds of the device's clock.
    public struct Launch {
        public let label: String
        public let pass: String
        public let start: Double
        public let end: Double
    }

    /// What the next launches belong to, such as a layer, and the part of its work that they are.
    public var label = ""
    public var pass = ""
    private let waiting: EventWait
    private var pending: [(event: cl_event, label: String, pass: String, kernel: String)] = []

    init(_ waiting: EventWait) { self.waiting = waiting }

    /// Sets what the next launches belong to.
    public func begin(_ label: String, pass: String = "") {
        self.label = label
        self.pass = pass
    }

    func record(_ event: cl_event, kernel: String) { pending.append((event, label, pass, kernel)) }

    func releaseEvents() {
        for item in pending { clReleaseEvent(item.event) }
        pending = []
    }

    /// Returns the time of everything recorded since the last call, by label, pass and kernel in order of
    /// first launch; waits for the device.
    public func collect() throws -> [Entry] {
        defer { releaseEvents() }
        var order: [[String]] = []
        var sums: [[String]: (seconds: Double, launches: Int)] = [:]
        for item in pending {
            let (start, end) = try Profile.times(item.event, kernel: item.kernel, waiting)
            let key = [item.label, item.pass, item.kernel]
            if sums[key] == nil { order.append(key) }
            let sum = sums[key] ?? (0, 0)
            sums[key] = (sum.seconds + end - start, sum.launches + 1)
        }
        return order.map { key in
            let sum = sums[key] ?? (0, 0)
            return Entry(
                label: key[0], pass: key[1], kernel: key[2], seconds: sum.seconds, launches: sum.launches)
        }
    }

    /// Returns the event's start and end in seconds of the device's clock; waits for the event.
    static func times(_ event: cl_event, kernel: String, _ waiting: EventWait) throws -> (
        start: Double, end: Double
    ) {
        try waiting.wait(event, "waiting for kernel \(kernel)")
        var start: cl_ulong = 0
        var end: cl_ulong = 0
        let size = MemoryLayout<cl_ulong>.size
        try check(
            clGetEventProfilingInfo(event, cl_profiling_info(CL_PROFILING_COMMAND_START), size, &start, nil),
            "timing kernel \(kernel)")
        try check(
            clGetEventProfilingInfo(event, cl_profiling_info(CL_PROFILING_COMMAND_END), size, &end, nil),
            "timing kernel \(kernel)")
        return (Double(start) * 1e-9, Double(end) * 1e-9)
    }

    /// Returns the launches that have ended since the last call, in their order; does not wait.
    public func takeEnded() throws -> [Launch] {
        var launches: [Launch] = []
        var count = 0
        for item in pending {
            guard try EventWait.status(item.event) <= CL_COMPLETE else { break }
            let (start, end) = try Profile.times(item.event, kernel: item.kernel, waiting)
            launches.append(Launch(label: item.label, pass: item.pass, start: start, end: end))
            clReleaseEvent(item.event)
            count += 1
        }
        pending.removeFirst(count)
        return launches
    }
}
