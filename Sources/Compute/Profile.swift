import COpenCL

/// The device's own timing of each launch, under the label that was set when it was queued.
public final class Profile {
    /// The seconds of one kernel's launches under one label.
    public struct Entry {
        public let label: String
        public let kernel: String
        public let seconds: Double
        public let launches: Int
    }

    /// What the launches from now on belong to, such as a layer and a pass.
    public var label = ""
    private var pending: [(event: cl_event, label: String, kernel: String)] = []

    func record(_ event: cl_event, kernel: String) {
        pending.append((event, label, kernel))
    }

    func releaseEvents() {
        for item in pending { clReleaseEvent(item.event) }
        pending = []
    }

    /// The time of everything recorded since the last call, by label and kernel in order of first launch; waits for the device.
    public func collect() throws -> [Entry] {
        defer { releaseEvents() }
        var order: [[String]] = []
        var sums: [[String]: (seconds: Double, launches: Int)] = [:]
        for item in pending {
            var event: cl_event? = item.event
            try check(clWaitForEvents(1, &event), "waiting for kernel \(item.kernel)")
            var start: cl_ulong = 0
            var end: cl_ulong = 0
            let size = MemoryLayout<cl_ulong>.size
            try check(
                clGetEventProfilingInfo(item.event, cl_profiling_info(CL_PROFILING_COMMAND_START), size, &start, nil),
                "timing kernel \(item.kernel)")
            try check(
                clGetEventProfilingInfo(item.event, cl_profiling_info(CL_PROFILING_COMMAND_END), size, &end, nil),
                "timing kernel \(item.kernel)")
            let key = [item.label, item.kernel]
            if sums[key] == nil { order.append(key) }
            let sum = sums[key] ?? (0, 0)
            sums[key] = (sum.seconds + Double(end - start) * 1e-9, sum.launches + 1)
        }
        return order.map { Entry(label: $0[0], kernel: $0[1], seconds: sums[$0]?.seconds ?? 0, launches: sums[$0]?.launches ?? 0) }
    }
}
