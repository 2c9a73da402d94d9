/// Lists the kernel families.
public enum KernelFamilies {
    public static let augment = AugmentFamily()
    public static let convolution = ConvolutionFamily()
    public static let dense = DenseFamily()
    public static let dropout = DropoutFamily()
    public static let fullyConnected = FullyConnectedFamily()
    public static let gemm = GEMMFamily()
    public static let optimizer = OptimizerFamily()
    public static let peak = PeakFamily()
    public static let pooling = PoolingFamily()
    public static let product = ProductFamily()
    public static let softmax = SoftmaxFamily()
    public static let winograd = WinogradFamily()

    private static let tuned: [any KernelFamily] = [
        augment, convolution, dense, dropout, fullyConnected, gemm,
        optimizer, peak, pooling, product, softmax, winograd,
    ]

    /// Every family: those above, and each file that needs no constants.
    public static let all: [any KernelFamily] = {
        let files = Program.sources.keys.filter { $0.hasSuffix(".cl") }
        let names = Set(
            files.compactMap { $0.split(separator: "/").last?.dropLast(".cl".count) }.map(String.init))
        return tuned + names.subtracting(tuned.map(\.name)).sorted().map { PlainFamily(name: $0) }
    }()

    static func named(_ name: String) throws -> any KernelFamily {
        guard let family = all.first(where: { $0.name == name }) else {
            throw ComputeError(
                "no kernel family named \(name); there are \(all.map(\.name).joined(separator: ", "))")
        }
        return family
    }

    /// Returns every program that a network can need on a device.
    public static func programs(tuning: Tuning) -> [Program.Key] {
        all.flatMap { family in
            family.variants(tuning).compactMap { family.program(tuning: tuning, variant: $0) }
        }
    }
}
