import Basics
import Compute
import Foundation

/// What a run spends its time on, for https://ui.perfetto.dev or chrome://tracing: a process for each rank, a
/// track for each kind of work.
public final class Trace: @unchecked Sendable {
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

    private let lock = NSLock()
    private var spans: [Span] = []

    /// Spans that are kept; later ones are dropped, and the file says so.
    private static let limit = 1_000_000

    public init() {}

    /// - Parameters:
    ///   - start: and `end`, in seconds of `Clock`
    func add(_ name: String, _ track: Track, start: Double, end: Double) {
        lock.withLock {
            if spans.count < Trace.limit {
                spans.append(Span(name: name, track: track, start: start, end: end))
            }
        }
    }

    /// Adds what a device has done, one span for the launches of a layer's pass that follow each other.
    ///
    /// - Parameter offset: seconds from the device's clock to `Clock`
    func add(_ launches: [Profile.Launch], offset: Double) {
        var open: (name: String, start: Double, end: Double)?
        for launch in launches {
            let name = launch.pass.isEmpty ? launch.label : "\(launch.label) \(launch.pass)"
            if let current = open, current.name == name {
                open = (name, current.start, launch.end)
            } else {
                if let current = open {
                    add(current.name, .device, start: current.start + offset, end: current.end + offset)
                }
                open = (name, launch.start, launch.end)
            }
        }
        if let current = open {
            add(current.name, .device, start: current.start + offset, end: current.end + offset)
        }
    }

    /// This rank's events as JSON, one a line, in Chrome's trace event format; times in microseconds.
    func events(rank: Int) -> [UInt8] {
        lock.withLock {
            var lines = [#"{"name":"process_name","ph":"M","pid":\#(rank),"args":{"name":"rank \#(rank)"}}"#]
            for track in Track.allCases {
                lines.append(
                    #"{"name":"thread_name","ph":"M","pid":\#(rank),"tid":\#(track.rawValue),"args":{"name":"\#(track.name)"}}"#
                )
            }
            for span in spans {
                lines.append(
                    #"{"name":"\#(span.name)","ph":"X","pid":\#(rank),"tid":\#(span.track.rawValue),"ts":"#
                        + String(format: "%.1f", span.start * 1e6) + #","dur":"#
                        + String(format: "%.1f", (span.end - span.start) * 1e6) + "}")
            }
            if spans.count == Trace.limit {
                lines.append(
                    #"{"name":"the trace is full","ph":"i","s":"p","pid":\#(rank),"tid":0,"ts":\#(spans.last.map { $0.end * 1e6 } ?? 0)}"#
                )
            }
            return Array(lines.joined(separator: ",\n").utf8)
        }
    }

    /// Writes all ranks' events, each as `events` gives them.
    static func write(_ path: String, _ ranks: [[UInt8]]) throws {
        try AtomicFile.write(
            path, Array("[\n".utf8) + ranks.joined(separator: Array(",\n".utf8)) + Array("\n]\n".utf8))
    }
}
