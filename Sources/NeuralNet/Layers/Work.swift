/// Holds how fast a device computes and moves.
public struct DeviceSpeed: Sendable {
    /// 10⁹ operations per second.
    public let gflops: Double
    /// 10⁹ bytes per second when a kernel only reads, only writes, or reads two arrays and writes one.
    ///
    /// A CPU's cores wait for what they read, so only a mix of both reaches the memory's full rate.
    public let reading, writing, adding: Double

    public init(gflops: Double, reading: Double, writing: Double, adding: Double) {
        self.gflops = gflops
        self.reading = reading
        self.writing = writing
        self.adding = adding
    }

    /// Creates the speed of a device whose memory has one rate for all accesses.
    public init(gflops: Double, gigabytesPerSecond rate: Double) {
        self.init(gflops: gflops, reading: rate, writing: rate, adding: rate)
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
        max(operations / speed.gflops, read / speed.reading, written / speed.writing, bytes / speed.adding)
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
        _ pass: LayerPass, operations: Double, tensors: (input: Double, output: Double), input: Double,
        output: Double, weights: Int
    ) {
        let weights = Double(weights)
        let all = tensors.input * input + tensors.output * output + weights
        let written =
            switch pass {
            case .forward: output
            case .backwardData: input
            case .backwardWeights: weights
            }
        self.init(operations: operations, read: 4 * (all - written), written: 4 * written)
    }
}

extension Sequence<Work> {
    /// Returns the seconds of launches that run one after the other.
    public func seconds(at speed: DeviceSpeed) -> Double { reduce(0) { $0 + $1.seconds(at: speed) } }
}
