import Compute

/// Describes one layer of a network: its spec with the shapes and parameters that follow from its input.
public struct LayerPlan: Sendable {
    public let spec: any LayerSpec
    /// The layer's index in the network, which keys dropout's masks.
    package let index: Int
    public private(set) var input: FeatureShape
    public private(set) var output: FeatureShape
    public let parameters: [Parameter]
    /// Whether backward will be called.
    let training: Bool
    let tuning: Tuning

    /// Plans a layer, by default one outside a network.
    ///
    /// - Parameter tuning: that of an open device; nil for a device's stored or initial values
    public init(
        _ spec: any LayerSpec, input: FeatureShape, index: Int = 0, module: String = "layer",
        firstParameter: Int = 0, training: Bool = true, device: DeviceDescription, tuning: Tuning? = nil
    ) {
        self.spec = spec
        self.index = index
        self.input = input
        output = spec.output(for: input)
        parameters = spec.parameters(input: input, module: module, firstIndex: firstParameter)
        self.training = training
        self.tuning = tuning ?? Tuning(for: device)
    }

    /// Makes the layer on the device whose tuning was planned with.
    public func makeLayer(on device: Device) throws -> any Layer {
        precondition(tuning == device.tuning, "\(name) was planned with the tuning of another device")
        return try spec.makeLayer(self, device: device)
    }

    /// Takes maps of another height and width.
    mutating func reshape(input: FeatureShape) {
        self.input = input
        output = spec.output(for: input)
    }

    public var name: String { spec.name(self) }

    public func algorithm(_ pass: LayerPass) -> String { spec.algorithm(pass) }

    /// Returns the multiplications and additions of any one pass by the plain sums, whatever the algorithm
    /// saves.
    public func operations(batch: Int) -> Double { spec.operationsPerImage(self) * Double(batch) }

    /// Returns the work of a pass that computes direct sums: it reads each tensor and writes its result once.
    func plainWork(_ pass: LayerPass, batch: Int) -> Work {
        Work(
            pass, operations: operations(batch: batch), tensors: spec.tensors(pass),
            input: Double(input.storedCount * batch), output: Double(output.storedCount * batch),
            weights: parameters.reduce(0) { $0 + $1.storedCount })
    }

    /// Returns what a pass over a batch computes and moves, for each kind of launch of its algorithm.
    public func work(_ pass: LayerPass, batch: Int) -> [Work] { spec.work(pass, self, batch: batch) }

    func memory(maximumBatch: Int) -> (workspace: Int, own: Int) {
        spec.memory(self, maximumBatch: maximumBatch)
    }
}
