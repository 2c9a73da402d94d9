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
    /// Returns how many tensors of the input's and of the output's size a pass reads or writes, including its
    /// result.
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
        [plan.plainWork(pass, batch: batch)]
    }
    public func memory(_ plan: LayerPlan, maximumBatch: Int) -> (workspace: Int, own: Int) { (0, 0) }
}
