import ArgumentParser
import Evaluation
import Foundation
import ImageData
import ModelFiles
import NeuralNet

struct PredictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(commandName: "predict", abstract: "Name what is on photographs.")

    @Option(help: "A .safetensors file, or a run's folder, which means its last checkpoint.")
    var checkpoint: String

    @Argument(help: "Photographs (.jpg).")
    var images: [String]

    @Option(help: "How many classes to list for each.")
    var top = 5

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard top >= 1 else { throw ValidationError("--top \(top): expected 1 or more") }
    }

    func run() throws {
        let checkpoint = try Checkpoint(checkpoint)
        let device = try device.open()
        let description = checkpoint.description
        let network = try checkpoint.network(options: Network.Options(maximumBatch: min(32, images.count), training: false), device: device)
        let evaluator = try Evaluator(network: network, normalization: description.normalization, shortSide: description.shortSide)
        let results = try evaluator.posteriors(ImageSet(paths: images, classes: description.classes), workers: 2)
        var objects: [JSON] = []
        for (file, result) in zip(images, results) {
            switch result {
            case .success(let posteriors):
                // Equal posteriors in the order of the classes, as everywhere.
                let best = posteriors.indices.sorted { (posteriors[$1], $0) < (posteriors[$0], $1) }.prefix(top)
                print("\(file)")
                for index in best { print(String(format: "  %5.1f %%  ", posteriors[index] * 100) + description.classes[index]) }
                objects.append(
                    .object([
                        .init("file", .string(file)),
                        .init(
                            "top",
                            .array(
                                best.map {
                                    .object([
                                        .init("class", .string(description.classes[$0])), .init("probability", .float(posteriors[$0])),
                                    ])
                                })),
                    ]))
            case .failure(let error):
                print("\(error)")
                objects.append(.object([.init("file", .string(file)), .init("error", .string(error.description))]))
            }
        }
        try output.write(.array(objects))
        let failed = results.count { if case .failure = $0 { true } else { false } }
        if failed > 0 { throw EvaluationError("\(failed) of \(images.count) photographs could not be read") }
    }
}
