import ArgumentParser
import Evaluation
import Foundation
import ImageData
import ModelFiles
import NeuralNet
import Training

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate", abstract: "Measure a checkpoint on labelled photographs.",
        discussion: "Uses the folder's val/ part, or the photographs that `train` holds out of it.")

    @Option(help: "A .safetensors file, or a run's folder, which means its last checkpoint.")
    var checkpoint: String

    @Option(help: "Folder of labelled photographs, as for `train`.")
    var data: String

    @Option(help: "Share of the photographs held out where the folder has no val/. Default: the run's, else 0.1.")
    var valFraction: Double?

    @Option(help: "Images of a mini-batch.")
    var batch = 64

    @OptionGroup var device: DeviceOptions

    @Option(help: "Threads that read photographs.")
    var workers = 2

    @OptionGroup var output: JSONOptions

    func validate() throws {
        guard (1...65_536).contains(batch) else { throw ValidationError("--batch \(batch): expected 1 to 65536 images") }
        guard (1...256).contains(workers) else { throw ValidationError("--workers \(workers): expected 1 to 256 threads") }
        if let valFraction, !(valFraction > 0 && valFraction < 1) {
            throw ValidationError("--val-fraction \(valFraction): expected a share between 0 and 1")
        }
    }

    func run() throws {
        // What a run held out is what it has not learnt from.
        let heldOut = valFraction ?? (try? Trainer.options(ofRun: checkpoint))?.validationFraction ?? TrainingOptions().validationFraction
        let checkpoint = try Checkpoint(checkpoint)
        let device = try device.open()
        let description = checkpoint.description
        let set = try Dataset.load(root: data, validationFraction: heldOut).validation.relabelled(classes: description.classes)
        let network = try checkpoint.network(
            options: Network.Options(maximumBatch: min(batch, max(1, set.count)), training: false), device: device)
        let evaluator = try Evaluator(network: network, normalization: description.normalization, shortSide: description.shortSide)
        let bar = ProgressBar()
        let result = try evaluator.evaluate(set, workers: workers) { bar.draw(done: $0, of: set.count, "\($0)/\(set.count) images") }
        bar.clear()
        for failure in result.failures { print("left out: \(failure)") }
        guard result.images > 0 else { throw EvaluationError("\(data): none of the \(set.count) photographs could be read") }
        print("\(result.images) images: \(TrainingConsole.accuracy(result))")
        ConfusionTable(classes: description.classes, counts: result.confusion).print()
        try output.write(
            .object([
                .init("top1", .number(result.top1)), .init("top5", .number(result.top5)), .init("loss", .number(result.loss)),
                .init("images", .integer(result.images)),
            ]))
    }
}

/// True classes against named ones: all of them where they fit a terminal, else the pairs most often confused.
struct ConfusionTable {
    let classes: [String]
    let counts: [[Int]]

    func print() {
        if classes.count <= 12 {
            printAll()
        } else {
            printWorst(10)
        }
    }

    private func printAll() {
        let width = max(5, (counts.flatMap { $0 }.max() ?? 0).description.count + 1)
        let nameWidth = min(20, classes.map(\.count).max() ?? 0)
        func padded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
        Swift.print("confusion (rows: true class, columns: answer)")
        for (index, row) in counts.enumerated() {
            Swift.print(padded(String(classes[index].prefix(20)), nameWidth) + row.map { padded($0 == 0 ? "·" : "\($0)", width) }.joined())
        }
    }

    private func printWorst(_ limit: Int) {
        let pairs = counts.indices.flatMap { row in
            counts[row].indices.compactMap { column in
                row != column && counts[row][column] > 0 ? (row, column, counts[row][column]) : nil
            }
        }
        let worst = pairs.sorted { ($0.2, $1.0, $1.1) > ($1.2, $0.0, $0.1) }.prefix(limit)
        if !worst.isEmpty { Swift.print("most often confused:") }
        for (row, column, count) in worst { Swift.print("  \(count) × \(classes[row]) taken for \(classes[column])") }
    }
}
