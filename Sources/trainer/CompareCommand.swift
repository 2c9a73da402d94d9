import Basics
import ArgumentParser
import Evaluation
import Foundation
import Photographs

struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "See where two models differ: a page with pictures, to open in a browser.",
        discussion: "Uses the folder's val/ part, or the photographs that `train` holds out of it.")

    @Argument(
        help: ArgumentHelp(
            "A .safetensors file, or a run's folder, which means its last checkpoint.", valueName: "A"))
    var first: String

    @Argument(help: ArgumentHelp("The checkpoint to compare it with.", valueName: "B")) var second: String

    @Option(help: "Folder of labelled photographs, as for `train`.") var data: String

    @Option(help: "The page to write (.html).") var out: String

    @Option(help: "Most pictures of each sheet.") var pictures = 24

    @Option(
        help:
            "Share of the photographs to compare on where the folder has no val/; 1 for all. Default: what the runs held out, else 0.1."
    ) var valFraction: Double?

    @OptionGroup var views: ViewArguments

    @Option(help: "Images of a mini-batch.") var batch = 64

    @OptionGroup var device: DeviceOptions

    @Option(help: "Threads that read photographs.") var workers = 2

    func validate() throws {
        guard (1...1000).contains(pictures) else {
            throw ValidationError("--pictures \(pictures): expected 1 to 1000")
        }
        guard (1...65_536).contains(batch) else {
            throw ValidationError("--batch \(batch): expected 1 to 65536 images")
        }
        guard (1...256).contains(workers) else {
            throw ValidationError("--workers \(workers): expected 1 to 256 threads")
        }
        try Evaluation.validate(valFraction: valFraction)
        _ = try views.weights(models: 2)
        try OutputFile.requireWritable(out, option: "--out")
    }

    func run() throws {
        let evaluation = try Evaluation(
            checkpoints: [first, second], data: data, validationFraction: valFraction, views: views,
            batch: batch, workers: workers, device: device)
        let posteriors = evaluation.answer.posteriors
        guard !posteriors.files.isEmpty else {
            throw EvaluationError("\(data): none of the \(evaluation.set.count) photographs could be read")
        }
        ViewReport.printUnknownClasses(of: posteriors)
        let table = ViewTable(posteriors, weights: try views.weights(models: 2))
        ViewReport(table: table, order: []).print()
        let set = evaluation.set
        let positions = Dictionary(
            (0..<set.count).map { (set.name($0), $0) }, uniquingKeysWith: { first, _ in first })
        let page = ComparisonPage(table, title: "\(first) and \(second) on \(data)", limit: pictures) {
            file in
            // Twice the size that the page shows, for sharp displays.
            guard let position = positions[file] else { throw ImageError(.missing, file: file) }
            return try encodeJPEG(set.decoded(position, shortSide: 320), quality: 80)
        }
        try AtomicFile.write(out, Array(try page.html().utf8))
        print("written: \(out)")
        try Evaluation.requireNone(evaluation.answer.failures, of: evaluation.set.count)
    }
}
