import ArgumentParser
import Evaluation
import Foundation
import Models
import NeuralNet

extension DenseNetwork.Averaging: ExpressibleByArgument {}

/// How photographs are looked at by models that are trained.
struct ViewArguments: ParsableArguments {
    @Flag(help: "Score every window of the whole photograph, not the central crop alone.") var dense = false

    @Flag(help: "Look at each photograph's mirror image too.") var mirror = false

    @Option(
        help:
            "Short sides to look at, such as 224,256,288. Default: each model's own, and with --dense 7/8 and 9/8 of it too.",
        transform: { text in
            let sides = text.split(separator: ",", omittingEmptySubsequences: false).map {
                Int($0.filter { $0 != " " }) ?? 0
            }
            guard sides.allSatisfy({ (1...16_384).contains($0) }) else {
                throw ValidationError("expected sides in pixels, 1 to 16384, with commas between them")
            }
            return sides
        }) var scales: [Int]?

    @Option(
        help: "With --dense: what is averaged over a view's windows, logits or posteriors. Default: logits.")
    var average: DenseNetwork.Averaging?

    @Option(help: "Weight of each model in the mean, such as 1,2,1. Default: equal ones.") var weights:
        String?

    @OptionGroup var convolution: ConvolutionOptions

    func validate() throws {
        if let average, !dense {
            throw ValidationError(
                "--average \(average.rawValue): expected --dense too, whose windows are averaged")
        }
    }

    /// Whether anything but the single crop is asked for.
    var areMany: Bool { dense || mirror || scales != nil }

    var options: ViewOptions {
        ViewOptions(isDense: dense, mirrors: mirror, scales: scales, averaging: average ?? .logits)
    }

    /// Opens the checkpoints as one ensemble.
    func ensemble(_ files: [Checkpoint], names: [String], batch: Int, device: DeviceOptions) throws
        -> Ensemble
    {
        let device = try device.open()
        return Ensemble(
            try zip(files, names).map {
                try EvaluatedModel(
                    $0, name: $1, views: options, batch: batch,
                    convolution: convolution.algorithms, device: device)
            }, device: device)
    }

    /// As many photographs of a mini-batch as are wanted, but no more than 256 MB of them at the largest
    /// short side.
    func batch(_ wanted: Int, _ files: [Checkpoint]) -> Int {
        let side = scales?.max() ?? files.map { $0.description.shortSide * 9 / 8 }.max() ?? 1
        return min(wanted, max(1, (256 << 20) / (4 * side * side)))
    }

    /// The weights as numbers, one for each model; nil where there are none.
    func weights(models: Int) throws -> [Double]? {
        guard let weights else { return nil }
        let numbers = weights.split(separator: ",", omittingEmptySubsequences: false).compactMap {
            Double($0.filter { $0 != " " })
        }
        guard numbers.count == models, numbers.allSatisfy({ $0 >= 0 && $0.isFinite }),
            numbers.contains(where: { $0 > 0 })
        else {
            throw ValidationError(
                "--weights \(weights): expected \(models) \(models == 1 ? "number" : "numbers") of 0 or more, not all 0, one for each model"
            )
        }
        return numbers
    }
}
