/// Holds how fast a device computes and moves.
public struct DeviceSpeed: Sendable {
    /// 10⁹ operations per second.
    public let gflops: Double
    /// 10⁹ bytes per second where memory is only read, where it is only written, and where two arrays are
    /// read for each that is written.
    ///
    /// A CPU's cores wait for what they read, so they reach the memory's full rate only if they write, too.
    public let reading, writing, both: Double

    public init(gflops: Double, reading: Double, writing: Double, both: Double) {
        self.gflops = gflops
        self.reading = reading
        self.writing = writing
        self.both = both
    }

    /// Holds a memory that has one rate for all accesses.
    public init(gflops: Double, gigabytesPerSecond rate: Double) {
        self.init(gflops: gflops, reading: rate, writing: rate, both: rate)
    }
}

/// Counts what launches of one kind compute and move, for the roofline model (Williams, Waterman and
/// Patterson, 2009).
public struct Work: Sendable {
    /// Multiplications and additions that the algorithm needs.
    public let operations: Double
    /// Bytes read from and written to the device's memory, each tensor once.
    public let read, written: Double
    public var bytes: Double { read + written }

    public init(operations: Double = 0, read: Double, written: Double) {
        self.operations = operations
        self.read = read
        self.written = written
    }

    /// Returns the seconds that arithmetic or memory needs, whichever is longer.
    public func seconds(at speed: DeviceSpeed) -> Double {
        max(operations / speed.gflops, read / speed.reading, written / speed.writing, bytes / speed.both)
            * 1e-9
    }
}

extension Work {
    /// Counts a pass that reads each tensor once and writes its result once.
    ///
    /// - Parameters:
    ///   - tensors: how many of the input's and of the output's size the pass reads or writes
    ///   - input: floats of the input; `output` and `weights` likewise
    init(
        _ pass: LayerPass, operations: Double, tensors: (input: Double, output: Double), input: Int,
        output: Int, weights: Int
    ) {
        let all = tensors.input * Double(input) + tensors.output * Double(output) + Double(weights)
        let written =
            switch pass {
            case .forward: output
            case .backwardData: input
            case .backwardWeights: weights
            }
        self.init(operations: operations, read: 4 * (all - Double(written)), written: 4 * Double(written))
    }
}

extension Sequence<Work> {
    /// Returns the seconds of launches that run one after the other.
    public func seconds(at speed: DeviceSpeed) -> Double { reduce(0) { $0 + $1.seconds(at: speed) } }
}
