import Basics
import Compute
import Foundation

/// A timeline of a run, with a process for each rank and a track for each kind of work.
///
/// https://ui.perfetto.dev and chrome://tracing show it.
package final class Trace: @unchecked Sendable {
    /// The tracks; each has the name that a viewer shows.
    enum Track: String, CaseIterable {
        case device = "device: layers"
        case exchange = "exchange: posted and progressed"
        case wait = "exchange: awaited"
        case data = "data: awaited"

        fileprivate var number: Int { Track.allCases.firstIndex(of: self) ?? 0 }
    }

    let path: String
    private let device: Device
    /// Seconds from the device's clock to `Clock`.
    private let clockOffset: Double
    private let lock = NSLock()
    private var spans: [(name: String, track: Track, start: Double, end: Double)] = []

    /// The number of spans to keep; later ones are dropped, and the file says so.
    private static let limit = 1_000_000

    /// Starts a timeline to be written to `path`.
    ///
    /// - Parameter device: opened for profiling
    init(_ path: String, of device: Device) throws {
        self.path = path
        self.device = device
        clockOffset = try device.clockOffset()
    }

    /// Adds a span from `start` to `end`, in seconds of `Clock`.
    func add(_ name: String, _ track: Track, start: Double, end: Double) {
        lock.withLock {
            if spans.count < Trace.limit { spans.append((name, track, start, end)) }
        }
    }

    /// Adds what the device has finished since the last call; a layer's pass is one span.
    func collect() throws {
        var merged: [(name: String, start: Double, end: Double)] = []
        for launch in try device.profile?.takeEnded() ?? [] {
            let name = launch.pass.isEmpty ? launch.label : "\(launch.label) \(launch.pass)"
            if merged.last?.name == name {
                merged[merged.count - 1].end = launch.end
            } else {
                merged.append((name, launch.start, launch.end))
            }
        }
        for span in merged {
            add(span.name, .device, start: span.start + clockOffset, end: span.end + clockOffset)
        }
    }

    /// Returns a rank's events in Chrome's trace event format: JSON, one a line, times in microseconds.
    func events(rank: Int) -> [UInt8] {
        func microseconds(_ seconds: Double) -> Double { (seconds * 1e7).rounded() / 10 }
        let spans = lock.withLock { self.spans }
        var events: [JSON] = [
            ["name": "process_name", "ph": "M", "pid": rank, "args": ["name": "rank \(rank)"] as JSON]
        ]
        events += Track.allCases.map {
            let name: JSON = ["name": $0.rawValue]
            return ["name": "thread_name", "ph": "M", "pid": rank, "tid": $0.number, "args": name]
        }
        events += spans.map {
            [
                "name": $0.name, "ph": "X", "pid": rank, "tid": $0.track.number, "ts": microseconds($0.start),
                "dur": microseconds($0.end - $0.start),
            ]
        }
        if let last = spans.last, spans.count == Trace.limit {
            let end = microseconds(last.end)
            events.append([
                "name": "the trace is full", "ph": "i", "s": "p", "pid": rank, "tid": 0, "ts": end,
            ])
        }
        return Array(events.map(\.text).joined(separator: ",\n").utf8)
    }

    /// Writes the events of all ranks.
    func write(_ ranks: [[UInt8]]) throws {
        try AtomicFile.write(
            path, Array("[\n".utf8) + ranks.joined(separator: Array(",\n".utf8)) + Array("\n]\n".utf8))
    }
}
