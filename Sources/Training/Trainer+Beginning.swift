import Configuration
import Runs
import Collectives
import Compute
import Foundation
import Photographs
import Models
import NeuralNet

/// What a run begins with.
extension Trainer {
    /// The weights of a new run, and its model's description with the normalisation: another model's, or the
    /// statistics of the photographs.
    static func begin(
        _ options: TrainingOptions, dataset: Dataset, network: Network, ranks: Ranks?,
        report: (TrainingEvent) -> Void
    ) throws -> (ModelDescription, unreadable: [ImageError]) {
        try network.initialize(seed: options.seed)
        // What is measured of the photographs the first rank measures for all.
        let isFirst = ranks?.isFirst ?? true
        let ownShortSide =
            options.shortSide
            ?? (isFirst ? defaultShortSide(dataset.training, imageSize: options.imageSize) : 0)
        var description = ModelDescription(
            architecture: network.architecture, classes: dataset.classes, imageSize: options.imageSize,
            shortSide: try ranks?.gather([ownShortSide])[0][0] ?? ownShortSide,
            normalization: Normalization(mean: [0, 0, 0], deviation: [1, 1, 1]), seed: options.seed)
        if let path = options.initialModel {
            let initial = try InitialModel(path)
            report(
                .note(
                    try initial.load(
                        into: network, classes: dataset.classes, freezesFeatures: options.freeze == .features)
                ))
            description.normalization = initial.checkpoint.description.normalization
            return (description, [])
        }
        let statistics =
            isFirst
            ? dataset.training.statisticsSample().channelStatistics(
                shortSide: description.shortSide, workers: options.workers) : nil
        let own = ((statistics?.mean ?? []) + (statistics?.deviation ?? [])).map { Float($0) }
        let values = try ranks?.gather(own)[0] ?? own
        description.normalization = Normalization(
            mean: Array(values.prefix(3)), deviation: Array(values.suffix(3)))
        return (description, statistics?.failures ?? [])
    }

    /// 8/7 of the crop, as 256 is to 224; but photographs that have the crop's size already are left as they
    /// are, and padded instead.
    private static func defaultShortSide(_ set: ImageSet, imageSize: Int) -> Int {
        let sample = set.statisticsSample(limit: 16)
        let sides = (0..<sample.count).compactMap { index -> Int? in
            guard let bytes = FileManager.default.contents(atPath: sample.absolutePath(index)),
                let image = try? decodeJPEG(Array(bytes), shortSide: nil)
            else { return nil }
            return min(image.width, image.height)
        }
        return !sides.isEmpty && sides.allSatisfy { $0 == imageSize }
            ? imageSize : ModelDescription.usualShortSide(imageSize: imageSize)
    }

    /// The exchange with the other ranks; over messages where `auto` has found that windows cannot be had.
    ///
    /// - Returns: nil where this process trains alone; else also the topology that the exchange has
    static func openExchange(
        _ options: TrainingOptions, _ topology: Topology?, ranks: Ranks?, network: Network, device: Device,
        trace: Trace?, report: (TrainingEvent) -> Void
    ) throws -> (exchange: GradientExchange, topology: Topology)? {
        guard let ranks, let topology else { return nil }
        func open(_ topology: Topology) throws -> (GradientExchange, Topology) {
            let exchange = try GradientExchange(
                network.trainedParameters, device: device, communicator: ranks.communicator,
                topology: topology, trace: trace)
            return (exchange, topology)
        }
        do { return try open(topology) } catch let error as WindowsUnavailable
            where options.transport == .auto
        {
            report(.note("\(error.description.prefix { $0 != ";" }): messages take their place"))
            return try open(
                Topology(
                    microBatches: options.microBatches, nodes: ranks.communicator.nodes,
                    nodeSize: options.nodeSize, transport: .sendrecv))
        }
    }

    /// Tells a person what is about to be trained, on what.
    ///
    /// - Parameter topology: of the exchange with other ranks, where there are some
    func reportBeginning(topology: Topology?) {
        report(
            .note(
                "\(dataset.training.count) training and \(dataset.validation.count) validation images of \(dataset.classes.count) classes, "
                    + "short side \(description.shortSide), crops of \(options.imageSize)"))
        if let gap = dataset.holdOutGap { report(.note(gap)) }
        report(
            .note(
                "\(network.architecture), \(network.parameters.reduce(0) { $0 + $1.count }) parameters, on \(device.description.name)"
            ))
        if let topology, let exchange {
            let cores = Ranks.usableCores
            if device.description.kind == .cpu, cores < device.description.computeUnits {
                report(
                    .note(
                        "this rank may use \(cores) of the \(device.description.computeUnits) cores that are its share: start with mpirun --bind-to none"
                    ))
            }
            report(
                .note(
                    "\(topology.description), \(options.microBatches) micro-batches, \(exchange.description), "
                        + (options.clipNorm == nil
                            ? options.exchange.rawValue
                            : "synchronous: --clip-norm needs all gradients before the first update")))
        }
    }

    /// The first line of the run's log.
    func logStart(version: String) throws {
        let information = device.description
        try metrics?.append(
            .object(
                [
                    .init("event", .string("start")), .init("version", .string(version)),
                    .init("device", .string(information.name)),
                    .init("driver", .string("\(information.platform) \(information.driver)")),
                    .init("ranks", .integer(ranks?.count ?? 1)),
                    .init("model", .string(description.architecture.description)),
                    .init("classes", .integer(dataset.classes.count)),
                    .init("training_images", .integer(dataset.training.count)),
                    .init("validation_images", .integer(dataset.validation.count)),
                    .init("short_side", .integer(description.shortSide)),
                ]
                    + TrainingOption.all.filter {
                        !["model", "short-side", "device", "out"].contains($0.name)
                    }
                    .compactMap { $0.member(options) }))
    }
}
