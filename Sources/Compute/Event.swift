import COpenCL
import Glibc

/// Represents a command that was queued; the host may wait for it.
public final class Event {
    // The device is kept, since its queue must outlive the wait.
    private let command: (handle: cl_event, device: Device)?

    init(_ handle: cl_event?, _ device: Device) { command = handle.map { ($0, device) } }

    private init() { command = nil }

    /// Returns an event that is complete.
    public static var complete: Event { Event() }

    deinit { if let command { clReleaseEvent(command.handle) } }

    /// Whether the command is done or has failed (see `wait`); does not wait, and any thread may ask.
    public var isComplete: Bool {
        guard let command else { return true }
        return (try? EventWait.status(command.handle)).map { $0 <= CL_COMPLETE } ?? true
    }

    /// Waits until the command is done.
    public func wait() throws {
        guard let command else { return }
        try command.device.waiting.wait(command.handle, "waiting for a copy between host and device")
    }
}

/// Waits for commands of a queue without keeping one of the host's cores busy.
struct EventWait {
    let queue: cl_command_queue
    /// Whether the host asks now and then, and sleeps in between.
    ///
    /// Drivers of GPUs may ask all the time in `clWaitForEvents` and `clFinish`; NVIDIA's does. Runtimes on
    /// CPUs put the thread to sleep, and wake it at once.
    let polls: Bool

    /// Waits until an event of the queue is complete.
    func wait(_ event: cl_event, _ action: @autoclosure () -> String) throws {
        guard polls else {
            var waiting: cl_event? = event
            return try check(clWaitForEvents(1, &waiting), action())
        }
        var status = try EventWait.status(event)
        if status > CL_COMPLETE {
            try check(clFlush(queue), action())
            // From 10 µs to 200 µs: short commands are not delayed, and long ones cost little of a core.
            var pause = 10.0
            while status > CL_COMPLETE {
                usleep(useconds_t(pause))
                pause = min(pause * 1.5, 200)
                status = try EventWait.status(event)
            }
        }
        try check(status, action())
    }

    /// Waits until everything in the queue has run.
    func finish(_ action: @autoclosure () -> String) throws {
        guard polls else { return try check(clFinish(queue), action()) }
        var event: cl_event?
        try check(clEnqueueMarkerWithWaitList(queue, 0, nil, &event), action())
        guard let event else { return }
        defer { clReleaseEvent(event) }
        try wait(event, action())
    }

    /// Returns the execution status: `CL_COMPLETE`, more than that before the end, less after an error.
    static func status(_ event: cl_event) throws -> cl_int {
        var status = cl_int(CL_QUEUED)
        try check(
            clGetEventInfo(
                event, cl_event_info(CL_EVENT_COMMAND_EXECUTION_STATUS), MemoryLayout<cl_int>.size, &status,
                nil), "asking a command for its status")
        return status
    }
}
