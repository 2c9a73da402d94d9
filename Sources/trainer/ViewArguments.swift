import ArgumentParser
import Collectives
import Evaluation
import Models
import NeuralNet
import Photographs
import Training

extension DenseNetwork.Averaging: ExpressibleByArgument {}

/// The views in which models look at photographs.
struct ViewArguments: ParsableArguments {
    @Flag(help: "Score every window of the whole photograph, not only the central crop.") var dense = false
    @Flag(help: "Also look at each photograph's mirror image.") var mirror = false

    @Option(
        help: "Short sides, such as 224,256,288. Default: the model's; with --dense also 7/8 and 9/8 of it.",
        transform: { text in
            let sides = text.split(separator: ",", omittingEmptySubsequences: false).map {
                Int($0.filter { $0 != " " }) ?? 0
            }
            let legal = ModelDescription.imageSizes
            guard sides.allSatisfy(legal.contains) else {
                throw ValidationError(
                    "expected sides in pixels, \(legal.lowerBound) to \(legal.upperBound), separated by "
                        + "commas")
            }
            return sides
        }) var scales: [Int]?

    @Option(help: "With --dense: what is averaged over windows. Default: logits.")
    var average: DenseNetwork.Averaging?

    @Option(help: "Weight of each model in the mean, such as 1,2,1. Default: equal weights.")
    var weights: String?

    @Option(
        help: """
            Class names for a model with numbers: a prepared set, manifest.json, photographs or a list.
            """) var classes: String?

    @OptionGroup var convolution: ConvolutionOptions

    func validate() throws {
        if let average, !dense {
            throw ValidationError(
                "--average \(average.rawValue): expected --dense too; a crop has one window")
        }
    }

    /// Whether any view but the central crop is requested.
    var areMany: Bool { dense || mirror || scales != nil }

    var options: ViewOptions {
        ViewOptions(isDense: dense, mirrors: mirror, scales: scales, averaging: average ?? .logits)
    }

    /// Gives numbered classes of models the names of `--classes`, or those of as many classes of photographs.
    ///
    /// - Parameters:
    ///   - files: the models; changed to those with names.
    ///   - own: the classes of the photographs, in order.
    /// - Returns: lines for the user.
    func nameClasses(of files: inout [Checkpoint], _ own: ClassNames? = nil) throws -> [String] {
        let given = try classes.map { try ClassNames(path: $0) }
        var lines: [String] = []
        for index in files.indices where files[index].description.hasNumberedClasses {
            let count = files[index].description.classes.count
            if let given, given.names.count != count {
                throw EvaluationError(
                    "--classes \(classes ?? ""): names \(given.names.count) classes, and "
                        + "\(files[index].path) has \(count)")
            }
            guard let source = given ?? (own?.names.count == count ? own : nil) else { continue }
            files[index] = files[index].renamed(source.names, words: source.words)
            if given == nil {
                lines.append(
                    "\(files[index].path): its \(count) classes are numbers, taken as those of the "
                        + "photographs in order")
            }
        }
        return lines
    }

    /// Opens the checkpoints as one ensemble, on this rank's device.
    func ensemble(
        _ files: [Checkpoint], names: [String], batch: Int, device: DeviceOptions,
        ranks: (any Communicator)?
    ) throws -> Ensemble {
        let device = try device.open(place: ranks.map { Ranks($0).place } ?? (0, 1))
        return Ensemble(
            try zip(files, names).map {
                try EvaluatedModel(
                    $0, name: $1, views: options, batch: batch,
                    convolution: convolution.algorithms, device: device)
            }, device: device)
    }

    /// Returns a mini-batch of at most `wanted` photographs, and at most 256 MB at the largest short side.
    func batch(_ wanted: Int, _ files: [Checkpoint]) -> Int {
        let side = scales?.max() ?? files.map { $0.description.shortSide * 9 / 8 }.max() ?? 1
        return min(wanted, max(1, (256 << 20) / (4 * side * side)))
    }

    /// Returns the weights as numbers, one for each model; nil without `--weights`.
    func weights(models: Int) throws -> [Double]? {
        guard let weights else { return nil }
        let numbers = weights.split(separator: ",", omittingEmptySubsequences: false).compactMap {
            Double($0.filter { $0 != " " })
        }
        guard numbers.count == models, numbers.allSatisfy({ $0 >= 0 && $0.isFinite }),
            numbers.contains(where: { $0 > 0 })
        else {
            throw ValidationError(
                "--weights \(weights): expected \(models) \(models == 1 ? "number" : "numbers") of 0 or "
                    + "more, not all 0, one for each model")
        }
        return numbers
    }

    // MARK: - Errors

    /// Fails if photographs could not be used; called when everything else is done.
    ///
    /// - Parameter listed: how many of the failures the error lists.
    func requireNone(_ failures: [ImageError], of count: Int, listed: Int = 20) throws {
        guard !failures.isEmpty else { return }
        let list = failures.prefix(listed).map { "\n  left out: \($0)" }
        let rest = listed > 0 && failures.count > listed ? ["\n  and \(failures.count - listed) more"] : []
        let isTooLarge = dense && failures.contains { $0.kind == .tooLarge }
        let remedy =
            isTooLarge ? ["\nFor those that are too large, give smaller --scales or leave out --dense"] : []
        throw EvaluationError(
            "\(failures.count) of \(count) photographs could not be used"
                + (list + rest + remedy).joined())
    }
}
