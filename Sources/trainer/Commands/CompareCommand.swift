import ArgumentParser
import Basics
import Evaluation
import Photographs

struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Show where two models differ, on a page with pictures to open in a browser.",
        discussion: "Uses the same photographs as `evaluate`.")

    @Argument(
        help: ArgumentHelp(
            "A .safetensors file, or a run folder, which stands for its best checkpoint.", valueName: "A"))
    var first: String

    @Argument(help: ArgumentHelp("The checkpoint to compare it with.", valueName: "B")) var second: String
    @Option(help: OptionHelp.data) var data: String
    @Option(help: "The page to write (.html).") var out: String
    @Option(help: "Maximum number of pictures on each sheet.") var pictures = 24
    @OptionGroup var options: FolderEvaluationOptions

    func validate() throws {
        try require("--pictures", pictures, in: 1...1000, "pictures")
        _ = try options.views.weights(models: 2)
        try OutputFile.requireWritable(out, option: "--out")
    }

    func run() throws {
        let evaluation = try FolderEvaluation(checkpoints: [first, second], data: data, options)
        ViewReport.printUnknownClasses(of: evaluation.posteriors)
        let table = ViewTable(evaluation.posteriors, weights: try options.views.weights(models: 2))
        ViewReport(table: table, order: []).print()
        let set = evaluation.set
        let positions = Dictionary(
            (0..<set.count).map { (set.name($0), $0) }, uniquingKeysWith: { first, _ in first })
        let page = ComparisonPage(table, title: "\(first) and \(second) on \(data)", limit: pictures) {
            file in
            // Twice the size that the page shows, for high-resolution displays.
            guard let position = positions[file] else { throw ImageError(.missing, file: file) }
            return try encodeJPEG(set.decoded(position, shortSide: 320), quality: 80)
        }
        try AtomicFile.write(out, Array(try page.html().utf8))
        print("written: \(out)")
        try evaluation.requireAllUsed()
    }
}
