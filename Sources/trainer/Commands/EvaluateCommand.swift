import ArgumentParser
import Basics
import Evaluation

struct EvaluateCommand: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "evaluate", abstract: "Measure checkpoints on labelled photographs.",
        discussion: """
            Measures what training held out of a run's own folder (its val/ part, or the share of \
            --val-fraction), and all photographs of any other folder. Several checkpoints are measured \
            separately and as an ensemble: the mean of their posteriors, with classes matched by name. \
            --posteriors combines files of --save-posteriors without running a model. Under mpirun the ranks \
            share the photographs; the results are those of one process.
            """)

    @Option(
        parsing: .upToNextOption,
        help: "One or more .safetensors files, or run folders, which stand for their best checkpoint.")
    var checkpoint: [String] = []

    @Option(help: OptionHelp.data) var data: String?
    @OptionGroup var options: FolderEvaluationOptions

    @Option(
        help: """
            Write [views, photographs, classes] posteriors as NumPy, and their names to FILE.npy.json.
            """) var savePosteriors: String?

    @Option(
        parsing: .upToNextOption,
        help: "Files of --save-posteriors of the same photographs, instead of --checkpoint and --data.")
    var posteriors: [String] = []

    @OptionGroup var output: JSONOptions

    @Option(
        help: """
            Write the table of views here, and classes and confusion to FILE.classes.csv, FILE.confusion.csv.
            """) var csv: String?

    private var views: ViewArguments { options.views }
    private var posteriorFiles: [String] { savePosteriors.map { [$0, Posteriors.sidecar($0)] } ?? [] }
    private var csvFiles: [String] { csv.map(ViewReport.csvFiles) ?? [] }
    private var jsonFiles: [String] { output.json.map { [$0] } ?? [] }

    func validate() throws {
        if posteriors.isEmpty {
            guard !checkpoint.isEmpty else {
                throw ValidationError("Missing expected argument '--checkpoint <checkpoint> ...'")
            }
            guard data != nil else { throw ValidationError("Missing expected argument '--data <data>'") }
            _ = try views.weights(models: checkpoint.count)
        } else {
            guard checkpoint.isEmpty, data == nil, savePosteriors == nil, options.valFraction == nil,
                !views.areMany
            else {
                throw ValidationError(
                    "--posteriors: no model is run, so --checkpoint, --data, --val-fraction, "
                        + "--save-posteriors and options of views are not allowed")
            }
        }
        try OutputFile.requireWritable([
            ("--save-posteriors", posteriorFiles), ("--csv", csvFiles), ("--json", jsonFiles),
        ])
    }

    func run() throws { if posteriors.isEmpty { try evaluate() } else { try combine() } }

    private func evaluate() throws {
        let job = try Job.join()
        let evaluation = try FolderEvaluation(
            checkpoints: checkpoint, data: data ?? "", options, ranks: job)
        guard Job.isFirst else { return }
        if let savePosteriors { try evaluation.posteriors.write(savePosteriors) }
        try report(evaluation.posteriors, showsTable: views.areMany || checkpoint.count > 1)
        try evaluation.requireAllUsed()
    }

    private func combine() throws {
        try Job.requireAlone("evaluate --posteriors")
        let tables = try posteriors.map { try Posteriors.read($0) }
        let joined = try Posteriors.joined(tables, names: posteriors)
        if !joined.leftOut.isEmpty {
            print("\(joined.leftOut.count) photographs could not be used when these were made (see --json)")
        }
        try report(joined, showsTable: true)
    }

    private func report(_ posteriors: Posteriors, showsTable: Bool) throws {
        let table: ViewTable
        do {
            table = ViewTable(posteriors, weights: try views.weights(models: posteriors.models.count))
        } catch let error as ValidationError { throw EvaluationError(error.message) }
        let order = showsTable && posteriors.sources.count > 1 ? GreedyOrder(table).steps : []
        let report = ViewReport(table: table, order: order)
        // Files come first: a closed pipe must not lose the result of hours.
        try output.write(report.json)
        for (path, text) in zip(csvFiles, report.csv) { try AtomicFile.write(path, Array(text.utf8)) }

        ViewReport.printUnknownClasses(of: posteriors)
        let metrics = table.final.metrics
        let images = metrics.images == 1 ? "1 image" : "\(metrics.images) images"
        print("\(images): \(metrics.summary(showsIntervals: true))")
        if showsTable { report.print() }
        report.printClasses()
        report.printConfusion()
        let written = posteriorFiles + jsonFiles + csvFiles
        if !written.isEmpty { print("written: " + written.joined(separator: ", ")) }
    }
}
