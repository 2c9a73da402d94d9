import ArgumentParser
import Evaluation
import Foundation
import ModelFiles
import NeuralNet

extension DenseNetwork.Averaging: ExpressibleByArgument {}

/// How photographs are looked at by models that are trained.
struct ViewArguments: ParsableArguments {
    @Flag(help: "Score every window of the whole photograph, not the central crop alone.")
    var dense = false

    @Flag(help: "Look at each photograph's mirror image too.")
    var mirror = false

    @Option(
        help: "Short sides to look at, such as 224,256,288. Default: each model's own, and with --dense 7/8 and 9/8 of it too.",
        transform: { text in
            let sides = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0.filter { $0 != " " }) ?? 0 }
            guard sides.allSatisfy({ (1...16_384).contains($0) }) else {
                throw ValidationError("expected sides in pixels, 1 to 16384, with commas between them")
            }
            return sides
        })
    var scales: [Int]?

    @Option(help: "With --dense: what is averaged over a view's windows, logits or posteriors. Default: logits.")
    var average: DenseNetwork.Averaging?

    @OptionGroup var convolution: ConvolutionOptions

    func validate() throws {
        if let average, !dense { throw ValidationError("--average \(average.rawValue): expected --dense too, whose windows are averaged") }
    }

    /// Whether anything but the single crop is asked for.
    var areMany: Bool { dense || mirror || scales != nil }

    var options: ViewOptions { ViewOptions(isDense: dense, mirrors: mirror, scales: scales, averaging: average ?? .logits) }

    /// Opens the checkpoints as one ensemble.
    func ensemble(_ checkpoints: [String], batch: Int, device: DeviceOptions) throws -> Ensemble {
        // All are looked at before the first takes any memory.
        let files = try checkpoints.map { try Checkpoint($0) }
        let device = try device.open()
        return Ensemble(
            try zip(files, checkpoints).map {
                try EvaluatedModel($0, name: $1, views: options, batch: batch, convolution: convolution.algorithms, device: device)
            }, device: device)
    }

    /// Weights as numbers, one for each model.
    static func weights(_ text: String?, models: Int) throws -> [Double]? {
        guard let text else { return nil }
        let weights = text.split(separator: ",", omittingEmptySubsequences: false).compactMap { Double($0.filter { $0 != " " }) }
        guard weights.count == models, weights.allSatisfy({ $0 >= 0 && $0.isFinite }), weights.contains(where: { $0 > 0 }) else {
            throw ValidationError("--weights \(text): expected \(models) numbers of 0 or more, not all 0, one for each model")
        }
        return weights
    }
}
