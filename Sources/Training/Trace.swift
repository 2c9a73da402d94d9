import Basics
import Compute
import Foundation

/// A timeline of a run for https://ui.perfetto.dev or chrome://tracing: a process for each rank, a track for
/// each kind of work.
final class Trace: @unchecked Sendable {
    /// The tracks.
    enum Track: Int, CaseIterable {
        case device, exchange, wait, data
        var name: String {
            switch self {
            case .device: "device: layers"
            case .exchange: "exchange: posted and progressed"
            case .wait: "exchange: awaited"
            case .data: "data: awaited"
            }
        }
    }

    private struct Span {
        let name: String
        let track: Track
        let start: Double
        let end: Double
    }

    let path: String
    private let device: Device
    /// Seconds from the device's clock to `Clock`.
    private let clockOffset: Double
    private let lock = NSLock()
    private var spans: [Span] = []

    /// The number of spans to keep. Later ones are dropped, and the file says so.
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
            if spans.count < Trace.limit {
                spans.append(Span(name: name, track: track, start: start, end: end))
            }
        }
    }

    /// Adds what the device has finished since the last call, one span for successive launches of a layer's
    /// pass.
    func collect() throws {
        let launches = try device.profile?.takeEnded() ?? []
        func add(_ span: (name: String, start: Double, end: Double)) {
            self.add(span.name, .device, start: span.start + clockOffset, end: span.end + clockOffset)
        }
        var open: (name: String, start: Double, end: Double)?
        for launch in launches {
            let name = launch.pass.isEmpty ? launch.label : "\(launch.label) \(launch.pass)"
            if let current = open, current.name == name {
                open = (name, current.start, launch.end)
            } else {
                if let current = open { add(current) }
                open = (name, launch.start, launch.end)
            }
        }
        if let current = open { add(current) }
    }

    /// Returns a rank's events in Chrome's trace event format: JSON, one a line, times in microseconds.
    func events(rank: Int) -> [UInt8] {
        lock.withLock {
            var lines = [#"{"name":"process_name","ph":"M","pid":\#(rank),"args":{"name":"rank \#(rank)"}}"#]
            for track in Track.allCases {
                lines.append(
                    #"{"name":"thread_name","ph":"M","pid":\#(rank),"tid":\#(track.rawValue),"#
                        + #""args":{"name":"\#(track.name)"}}"#
                )
            }
            for span in spans {
                lines.append(
                    #"{"name":"\#(span.name)","ph":"X","pid":\#(rank),"tid":\#(span.track.rawValue),"ts":"#
                        + String(format: "%.1f", span.start * 1e6) + #","dur":"#
                        + String(format: "%.1f", (span.end - span.start) * 1e6) + "}")
            }
            if spans.count == Trace.limit {
                let end = spans.last.map { $0.end * 1e6 } ?? 0
                lines.append(
                    #"{"name":"the trace is full","ph":"i","s":"p","pid":\#(rank),"tid":0,"ts":\#(end)}"#)
            }
            return Array(lines.joined(separator: ",\n").utf8)
        }
    }

    /// Writes the events of all ranks.
    func write(_ ranks: [[UInt8]]) throws {
        try AtomicFile.write(
            path, Array("[\n".utf8) + ranks.joined(separator: Array(",\n".utf8)) + Array("\n]\n".utf8))
    }
}
