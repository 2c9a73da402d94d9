import Compute

/// Describes a layer before it exists: its shapes, parameters, costs and memory, and how to construct it.
///
/// Each kind of layer implements this in the file of its `Layer`. Functions that depend on the layer's input
/// take its plan.
public protocol LayerSpec: Sendable {
    /// The name of the kind in JSON. The oracle knows its layers by the same names.
    var kind: String { get }
    /// Whether the layer works on whole images. Other layers work on feature maps of any height and width;
    /// dense evaluation runs them over larger images, and fine-tuning can freeze them.
    var isClassifier: Bool { get }
    /// Whether the output has half the input's height and width.
    var halvesMap: Bool { get }
    /// Whether output and input are the same memory.
    var isInPlace: Bool { get }
    /// Whether it has parameters.
    var hasWeights: Bool { get }
    /// The number of modules that torchvision counts: each ReLU and each dropout is one of its own.
    var moduleCount: Int { get }

    /// Returns the spec with everything filled in that depends on the network's options.
    func configured(by options: Network.Options, input: FeatureShape) -> any LayerSpec
    /// Returns the shape of one image's output.
    func output(for input: FeatureShape) -> FeatureShape
    /// Returns the parameters in their order.
    ///
    /// - Parameters:
    ///   - module: the module's name in torchvision, such as `features.0`
    ///   - firstIndex: the index of the first parameter in the network
    func parameters(input: FeatureShape, module: String, firstIndex: Int) -> [Parameter]

    /// Returns the name that reports show, such as `conv 32→64`.
    func name(_ plan: LayerPlan) -> String
    /// Returns the algorithm of a pass as reports show it; empty if there is no choice.
    func algorithm(_ pass: LayerPass) -> String
    /// The algorithms that were chosen, on which the last bits of results depend; nil if there is no choice.
    var chosenAlgorithms: String? { get }
    /// Returns the multiplications and additions of one image's forward pass by the plain sums. Each backward
    /// pass has as many.
    func operationsPerImage(_ plan: LayerPlan) -> Double
    /// Returns how many tensors of the input's and of the output's size a pass reads or writes.
    func tensors(_ pass: LayerPass) -> (input: Double, output: Double)
    /// Returns what a pass over a batch computes and moves, for each kind of launch of its algorithm.
    func work(_ pass: LayerPass, _ plan: LayerPlan, batch: Int) -> [Work]

    /// Returns the bytes of scratch memory, which all layers share, and of the buffers that the layer
    /// allocates for itself.
    func memory(_ plan: LayerPlan, maximumBatch: Int) -> (workspace: Int, own: Int)
    /// Constructs the layer.
    func makeLayer(_ plan: LayerPlan, device: Device) throws -> any Layer
}

extension LayerSpec {
    public var halvesMap: Bool { false }
    public var isInPlace: Bool { false }
    public var hasWeights: Bool { false }
    public var moduleCount: Int { 1 }
    public func configured(by options: Network.Options, input: FeatureShape) -> any LayerSpec { self }
    public func output(for input: FeatureShape) -> FeatureShape { input }
    public func parameters(input: FeatureShape, module: String, firstIndex: Int) -> [Parameter] { [] }
    public func name(_ plan: LayerPlan) -> String { kind }
    public func algorithm(_ pass: LayerPass) -> String { "" }
    public var chosenAlgorithms: String? { nil }
    public func operationsPerImage(_ plan: LayerPlan) -> Double { 0 }
    public func tensors(_ pass: LayerPass) -> (input: Double, output: Double) { (1, 1) }
    public func work(_ pass: LayerPass, _ plan: LayerPlan, batch: Int) -> [Work] {
        [Work(operations: plan.operations(batch: batch), bytes: plan.bytes(pass, batch: batch))]
    }
    public func memory(_ plan: LayerPlan, maximumBatch: Int) -> (workspace: Int, own: Int) { (0, 0) }
}

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

    /// Returns the bytes of the tensors that a pass reads and writes, each counted once.
    func bytes(_ pass: LayerPass, batch: Int) -> Double {
        let tensors = spec.tensors(pass)
        let weights = parameters.reduce(0) { $0 + Double($1.storedCount) }
        return 4
            * (tensors.input * Double(input.storedCount * batch)
                + tensors.output * Double(output.storedCount * batch) + weights)
    }

    /// Returns what a pass over a batch computes and moves, for each kind of launch of its algorithm.
    public func work(_ pass: LayerPass, batch: Int) -> [Work] { spec.work(pass, self, batch: batch) }

    func memory(maximumBatch: Int) -> (workspace: Int, own: Int) {
        spec.memory(self, maximumBatch: maximumBatch)
    }
}
