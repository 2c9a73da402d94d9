import Compute

/// Constants that suit a device and change no result's meaning: sizes of register tiles and of chunks.
///
/// They are fixed by the device's own description, never by its number of cores or by a race, so a device
/// always adds in the same order.
public struct Tuning: Sendable, Equatable {
    public struct Winograd: Sendable, Equatable {
        var tileGroup = 6
        var multiplyRows = 6
        var multiplyBlocks = 8
        var blockRows = 18
        var weightsRows = 4
        /// Channels times filters up to which forward and backward-data run in one launch.
        var largestProductAtOnce = 128 * 128

        /// Most tiles of a chunk.
        func chunkTiles(outputTile: Int) -> Int { outputTile == 4 ? 256 : 576 }

        func constants(outputTile: Int) -> [String: Int] {
            [
                "OUTPUT_TILE": outputTile, "TILE_GROUP": tileGroup, "MULTIPLY_ROWS": multiplyRows,
                "MULTIPLY_BLOCKS": multiplyBlocks, "BLOCK_ROWS": blockRows, "WEIGHTS_ROWS": weightsRows,
            ]
        }
    }

    public struct GEMM: Sendable, Equatable {
        /// Floats in a register.
        public internal(set) var vector = 8
        var rows = 6
        var depthBlock = 512
        /// Most rows and panels that one work-item takes, and the items that a product is cut into where it
        /// is large enough.
        var rowsPerItem = 192
        var panelsPerItem = 16
        var items = 64

        var constants: [String: Int] { ["VECTOR": vector, "ROWS": rows, "DEPTH_BLOCK": depthBlock] }
    }

    public struct Convolution: Sendable, Equatable {
        var vector = 8
        var weightChannels = 4
        var pixelsPerItem = 192
        var panelsPerItem = 16
        /// Bytes of activations and gradients that one slot of the weights' gradient sums, and of all slots
        /// together.
        var slotBytes = 512 << 10
        var slotsBytes = 16 << 20
        /// Bytes of windows that `im2col` lays out at a time.
        var columnsBytes = 4 << 20

        var constants: [String: Int] { ["VECTOR": vector, "WEIGHT_CHANNELS": weightChannels] }
    }

    public struct FullyConnected: Sendable, Equatable {
        var vector = 8
        /// Inputs of one work-item in backward-data: long runs of weights, and enough items for many cores.
        var inputsPerItem = 128

        var constants: [String: Int] { ["VECTOR": vector] }
    }

    public var winograd = Winograd()
    public var gemm = GEMM()
    public var convolution = Convolution()
    public var fullyConnected = FullyConnected()
    /// Of the kernel that makes the network's input: pixels whose places in the photograph are computed
    /// together, by a CPU's vectors.
    package var augment = ["BLOCK": 1]

    public init(for device: DeviceDescription) {
        if device.kind == .cpu { augment["BLOCK"] = 16 }
        if device.floatVectorWidth >= 16 {
            winograd = Winograd(
                tileGroup: 8, multiplyRows: 8, multiplyBlocks: 8, blockRows: 16, weightsRows: 16)
            gemm.vector = 16
            convolution.vector = 16
            convolution.weightChannels = 8
            fullyConnected.vector = 16
        }
    }

    /// For `peak.cl`.
    public var peakConstants: [String: Int] { ["VECTOR": gemm.vector] }

    /// Every program that a network can need on this device: files with their constants.
    public var programs: [(file: String, constants: [String: Int])] {
        [
            ("augment", augment), ("dense", [:]), ("dropout", [:]), ("optimizer", [:]),
            ("peak", peakConstants), ("softmax", [:]), ("pooling", ["WIDTH": 4]), ("pooling", ["WIDTH": 8]),
            ("gemm", gemm.constants), ("convolution", convolution.constants),
            ("fully_connected", fullyConnected.constants), ("winograd", winograd.constants(outputTile: 2)),
            ("winograd", winograd.constants(outputTile: 4)),
        ]
    }
}
