import Basics
import NeuralNet

/// Describes devices and the network between them, as far as the model of a step needs them.
public struct Machine: Sendable, Equatable {
    public var name: String
    /// The devices of a node, which share its network port.
    public var devicesPerNode = 1
    /// 10⁹ operations per second of one device, and the share of them that layers reach.
    ///
    /// Operations count the plain sums, so a faster algorithm may reach more than all of them.
    public var gflops: Double
    public var efficiency = 1.0
    /// 10⁹ bytes per second between a device and its memory, and 10⁹ bytes of that memory.
    public var memoryBandwidth: Double
    public var memory: Double
    /// 10⁹ bytes per second each way through a node's port, and of a device to those of its node.
    public var portBandwidth: Double
    public var insideBandwidth: Double
    /// Microseconds from the end of a transfer until the receiver can use it.
    public var latency = 0.0
    /// Microseconds that a message keeps the network busy in addition to its bytes.
    public var messageTime = 0.0
    /// The share of a device's speed that is lost while its exchange is on the network.
    public var contention = 0.0
    /// Whether the ranks of a node exchange first.
    public var nodeFirst = true
    /// Whether MPI opens windows between nodes; messages, as over TCP, get smaller buckets.
    public var hasWindows = true

    public init(
        name: String, gflops: Double, memoryBandwidth: Double, memory: Double,
        portBandwidth: Double, insideBandwidth: Double
    ) {
        self.name = name
        self.gflops = gflops
        self.memoryBandwidth = memoryBandwidth
        self.memory = memory
        self.portBandwidth = portBandwidth
        self.insideBandwidth = insideBandwidth
    }

    /// What a device reaches in layers.
    var speed: DeviceSpeed {
        DeviceSpeed(gflops: gflops * efficiency, gigabytesPerSecond: memoryBandwidth)
    }
}

extension Machine {
    /// The machines that have a name.
    public static let presets = [minwa, h100x8, pc]

    /// The paper's machine: 36 nodes of 4 Tesla K40m and one FDR InfiniBand port (section 2).
    ///
    /// `efficiency` and `contention` are fitted to the paper's 47× at 64 devices with mini-batches of 1024,
    /// and to data parallelism being ahead above 16 devices (`tools/fit_minwa`). The port's bandwidth is
    /// 56 Gb/s less coding and protocol; transfers within a node cross PCIe at about the same rate.
    public static let minwa: Machine = {
        var machine = Machine(
            name: "minwa", gflops: 4290, memoryBandwidth: 288, memory: 12,
            portBandwidth: 6, insideBandwidth: 6)
        machine.devicesPerNode = 4
        machine.efficiency = 0.26
        machine.latency = 5
        machine.messageTime = 1
        machine.contention = 0.24
        // The paper's butterfly is among all devices.
        machine.nodeFirst = false
        return machine
    }()

    /// Nodes of 8 H100 with NVLink and one port of 400 Gb/s.
    ///
    /// `efficiency` gives the step of VGG-16 that was measured on an H100 (71.1 ms, docs/gpu.md). It is above
    /// 1 because Winograd's algorithm needs fewer operations. The network's numbers come from data sheets and
    /// were not measured.
    public static let h100x8: Machine = {
        var machine = Machine(
            name: "h100x8", gflops: 67_000, memoryBandwidth: 3350, memory: 80,
            portBandwidth: 50, insideBandwidth: 370)
        machine.devicesPerNode = 8
        machine.efficiency = 1.3
        machine.latency = 3
        machine.messageTime = 1
        machine.contention = 0.05
        return machine
    }()

    /// PCs with one GPU of the middle class each (an RTX 3060's data sheet), on Ethernet of 1 Gb/s.
    public static let pc: Machine = {
        var machine = Machine(
            name: "pc", gflops: 12_700, memoryBandwidth: 360, memory: 12,
            portBandwidth: 0.117, insideBandwidth: 6)
        machine.efficiency = 0.8
        machine.latency = 100
        machine.messageTime = 30
        machine.contention = 0.02
        machine.hasWindows = false
        return machine
    }()
}
