import NeuralNet

/// Two all-reduces of different sizes between ranks, which say how fast their network is.
public struct ExchangeSpeed: Sendable {
    public let ranks: Int
    /// Seconds of an exchange without bytes, and of each byte.
    public let fixed, perByte: Double
    /// Whether the ranks share one machine, and whether MPI opens windows between machines.
    public let isOneMachine, hasWindows: Bool

    /// - Parameters:
    ///   - small: bytes and seconds of a small exchange
    ///   - large: those of a large one
    public init(
        ranks: Int, small: (bytes: Int, seconds: Double), large: (bytes: Int, seconds: Double),
        isOneMachine: Bool = true, hasWindows: Bool = true
    ) {
        self.ranks = ranks
        (self.isOneMachine, self.hasWindows) = (isOneMachine, hasWindows)
        let slope = (large.seconds - small.seconds) / Double(max(1, large.bytes - small.bytes))
        perByte = max(slope, 1e-15)
        fixed = max(0, small.seconds - perByte * Double(small.bytes))
    }

    /// 10⁹ bytes per second each way at each rank: the bytes of both halves of the exchange.
    public var bandwidth: Double { 2 * Double(ranks - 1) / Double(ranks) / perByte * 1e-9 }
}

extension Machine {
    /// Describes the computer on which the program runs.
    ///
    /// - Parameters:
    ///   - gflops: 10⁹ operations per second that a training step reaches
    ///   - devices: those of a node, if the exchange was measured on one machine
    ///   - isCPU: whether the thread that enqueues kernels also does the exchange's work, unless messages go
    ///     to other machines
    public static func measured(
        gflops: Double, memoryBandwidth: Double, memory: Int,
        exchange: ExchangeSpeed, devices: Int, isCPU: Bool
    ) -> Machine {
        var machine = Machine(
            name: "this", gflops: gflops, memoryBandwidth: memoryBandwidth, memory: Double(memory) * 1e-9,
            portBandwidth: exchange.bandwidth, insideBandwidth: exchange.bandwidth)
        machine.devicesPerNode = exchange.isOneMachine ? devices : 1
        machine.hasWindows = exchange.hasWindows
        machine.latency = exchange.fixed / 2 * 1e6
        let sendsBetweenMachines = !exchange.isOneMachine && !exchange.hasWindows
        machine.contention = isCPU && !sendsBetweenMachines ? 1 : 0
        return machine
    }
}

extension SimulatedTraining {
    /// The operations of a step for one image, by the plain sums.
    public var operationsPerImage: Double {
        plan.layers.reduce(0) { sum, layer in
            sum + Double(LayerPass.allCases.filter { plan.runs($0, layer) }.count)
                * layer.operations(batch: 1)
        }
    }

    /// Returns the seconds of a step, after the measured time of a step without exchange on each device.
    ///
    /// The machine only decides how that time is divided over the layers. It is the time with the whole
    /// network, of which a hybrid step does less: it updates only a part.
    public func stepSeconds(devices: Int, batch: Int, strategy: Strategy, computation: Double) throws
        -> Double
    {
        var model = try stepModel(devices: devices, batch: batch, strategy: strategy)
        let data = try stepModel(
            devices: devices, batch: batch, strategy: .init(.synchronous, nodeFirst: strategy.nodeFirst))
        let factor = computation / data.computation
        for index in model.layers.indices {
            model.layers[index].forward *= factor
            model.layers[index].backward *= factor
            model.layers[index].update *= factor
        }
        return model.seconds(strategy.timing)
    }
}
