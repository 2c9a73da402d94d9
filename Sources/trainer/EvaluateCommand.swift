import ArgumentParser
import Evaluation
import Foundation
import ImageData
import ModelFiles
import NeuralNet
import Training

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate", abstract: "Measure checkpoints on labelled photographs.",
        discussion: """
            Uses the folder's val/ part, or the photographs that `train` holds out of it. Several checkpoints are measured each and together: the mean \
            of their posteriors, classes matched by name. --posteriors mixes what --save-posteriors kept, without running anything.
            """)

    @Option(
        parsing: .upToNextOption,
        help: "One or more .safetensors files, or runs' folders, which mean their last checkpoint.")
    var checkpoint: [String] = []

    @Option(help: "Folder of labelled photographs, as for `train`.")
    var data: String?

    @Option(help: "Share of the photographs held out where the folder has no val/. Default: the run's, else 0.1.")
    var valFraction: Double?

    @OptionGroup var views: ViewArguments

    @Option(help: "Weight of each model in the mean, such as 1,2,1. Default: equal ones.")
    var weights: String?

    @Option(
        help:
            "Write the posteriors of every view in NumPy's format, [views, photographs, classes], and what its axes mean to FILE.npy.json.")
    var savePosteriors: String?

    @Option(
        parsing: .upToNextOption, help: "Files of --save-posteriors of the same photographs, in place of --checkpoint and --data.")
    var posteriors: [String] = []

    @Option(help: "Images of a mini-batch.")
    var batch = 64

    @OptionGroup var device: DeviceOptions

    @Option(help: "Threads that read photographs.")
    var workers = 2

    @OptionGroup var output: JSONOptions

    @Option(
        help: "Write the table of views to this file, what each class got to FILE.classes.csv, and the confusion to FILE.confusion.csv.")
    var csv: String?

    func validate() throws {
        if posteriors.isEmpty {
            guard !checkpoint.isEmpty else { throw ValidationError("Missing expected argument '--checkpoint <checkpoint> ...'") }
            guard data != nil else { throw ValidationError("Missing expected argument '--data <data>'") }
            _ = try ViewArguments.weights(weights, models: checkpoint.count)
        } else {
            guard checkpoint.isEmpty, data == nil, savePosteriors == nil, valFraction == nil, !views.areMany else {
                throw ValidationError(
                    "--posteriors: nothing is run, so no --checkpoint, --data, --val-fraction, --save-posteriors or views may be given")
            }
        }
        guard (1...65_536).contains(batch) else { throw ValidationError("--batch \(batch): expected 1 to 65536 images") }
        guard (1...256).contains(workers) else { throw ValidationError("--workers \(workers): expected 1 to 256 threads") }
        if let valFraction, !(valFraction > 0 && valFraction < 1) {
            throw ValidationError("--val-fraction \(valFraction): expected a share between 0 and 1")
        }
        for path in savePosteriors.map({ [$0, Posteriors.sidecar($0)] }) ?? [] {
            try OutputFile.requireWritable(path, option: "--save-posteriors")
        }
        for path in csv.map(ViewReport.csvFiles) ?? [] { try OutputFile.requireWritable(path, option: "--csv") }
    }

    func run() throws {
        if posteriors.isEmpty { try evaluate() } else { try mix() }
    }

    private func evaluate() throws {
        let evaluation = try Evaluation(
            checkpoints: checkpoint, data: data ?? "", validationFraction: valFraction, views: views, batch: batch, workers: workers,
            device: device)
        let posteriors = evaluation.answer.posteriors
        guard !posteriors.files.isEmpty else {
            throw EvaluationError("\(data ?? ""): none of the \(evaluation.set.count) photographs could be read")
        }
        ViewReport.print(evaluation.ensemble.classDifferences)
        if let savePosteriors { try posteriors.write(savePosteriors) }
        try report(posteriors, evaluation, showsTable: views.areMany || checkpoint.count > 1)
        try Evaluation.requireNone(evaluation.answer.failures, of: evaluation.set.count)
    }

    private func mix() throws {
        let tables = try posteriors.map { try Posteriors.read($0) }
        try report(try Posteriors.joined(tables, names: posteriors), nil, showsTable: true)
    }

    private func report(_ posteriors: Posteriors, _ evaluation: Evaluation?, showsTable: Bool) throws {
        let table = ViewTable(posteriors, weights: try ViewArguments.weights(weights, models: posteriors.models.count))
        let metrics = table.final.metrics
        let top5 = posteriors.classes.count > 5 ? ", top-5 \(percent(metrics.top5))" : ""
        print("\(metrics.images) images: top-1 \(percent(metrics.top1))\(top5), loss " + String(format: "%.4f", metrics.loss))
        let order = showsTable && posteriors.sources.count > 1 ? GreedyOrder(table).steps : []
        let report = ViewReport(table: table, order: order)
        if showsTable { report.print() }
        report.printClasses()
        ConfusionTable(classes: posteriors.classes, confusion: metrics.confusion).print()
        try output.write(
            report.json(failures: evaluation?.answer.failures ?? [], differences: evaluation?.ensemble.classDifferences ?? []))
        if let csv {
            for (path, text) in zip(ViewReport.csvFiles(csv), report.csv) { try AtomicFile.write(path, Array(text.utf8)) }
            print("written: " + ViewReport.csvFiles(csv).joined(separator: ", "))
        }
    }
}

/// Checkpoints on a folder's held-out photographs.
struct Evaluation {
    let ensemble: Ensemble
    let set: ImageSet
    let answer: Ensemble.Answer

    /// The share of photographs that a checkpoint's run held out; nil where nothing beside it says so.
    private static func heldOutShare(_ path: String) -> Double? {
        for place in [path, path + "/checkpoints/last", URL(fileURLWithPath: path).deletingLastPathComponent().path] {
            if let share = try? Trainer.options(ofCheckpoint: place).validationFraction { return share }
        }
        return try? Trainer.options(ofRun: path).validationFraction
    }

    /// Names photographs that could not be used, once all else is done: they make the command fail.
    static func requireNone(_ failures: [ImageError], of count: Int) throws {
        guard !failures.isEmpty else { return }
        throw EvaluationError(
            "\(failures.count) of \(count) photographs could not be used and are left out of the figures:\n"
                + failures.prefix(20).map { "  left out: \($0)" }.joined(separator: "\n") + (failures.count > 20 ? "\n  and more" : ""))
    }

    /// Runs every view, with a progress bar.
    init(
        checkpoints: [String], data: String, validationFraction: Double?, views: ViewArguments, batch: Int, workers: Int,
        device: DeviceOptions
    ) throws {
        // What a run held out is what it has not learnt from. Files are chosen by a hash, so a smaller share is a part of a larger one.
        let known = checkpoints.map { Evaluation.heldOutShare($0) }
        let share = validationFraction ?? known.compactMap { $0 }.min() ?? TrainingOptions().validationFraction
        let dataset = try Dataset.load(root: data, validationFraction: share)
        let isHeldOut = !(dataset.validation.files.first?.path.hasPrefix("val/") ?? false)
        if let validationFraction, isHeldOut, let least = known.compactMap({ $0 }).min(), validationFraction > least {
            print(
                "--val-fraction \(validationFraction): a run held out no more than \(least); the other photographs here it has learnt from, "
                    + "so the figures flatter it")
        }
        if validationFraction == nil, isHeldOut {
            if Set(known).count > 1 { print("the runs held out different shares; these are photographs that none of them has learnt from") }
            for (path, share) in zip(checkpoints, known) where share == nil {
                print("\(path) does not say which photographs it has learnt from; some of these may be among them (see --val-fraction)")
            }
        }
        let batch = min(batch, max(1, dataset.validation.count))
        ensemble = try views.ensemble(checkpoints, batch: batch, device: device)
        set = try dataset.validation.relabelled(classes: ensemble.classes)
        let used = Set(dataset.classes)
        if let stranger = ensemble.models.first(where: { used.isDisjoint(with: $0.description.classes) }) {
            throw EvaluationError(
                "\(stranger.name) knows none of the classes in \(data) (\(dataset.classes.prefix(5).joined(separator: ", "))…), it has "
                    + "\(stranger.description.classes.prefix(5).joined(separator: ", "))…; leave it out, or give other photographs")
        }
        let bar = ProgressBar()
        let start = ContinuousClock.now
        let count = set.count
        answer = try ensemble.run(set, batch: batch, workers: workers) { share in
            let duration = (ContinuousClock.now - start).components
            let seconds = Double(duration.seconds) + Double(duration.attoseconds) * 1e-18
            bar.draw(
                done: Int(1000 * share), of: 1000,
                String(format: "%.0f %% of \(count) images, ", 100 * share) + ProgressBar.duration(seconds * (1 - share) / share) + " left")
        }
        bar.clear()
    }
}

/// True classes against named ones: all of them where they fit a terminal, else the pairs most often confused.
struct ConfusionTable {
    let classes: [String]
    let confusion: Confusion

    func print() {
        if classes.count <= 12 {
            printAll()
        } else {
            printWorst(10)
        }
    }

    private func printAll() {
        let width = max(5, (confusion.entries.map(\.count).max() ?? 0).description.count + 1)
        let nameWidth = min(20, classes.map(\.count).max() ?? 0)
        func padded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
        Swift.print("confusion (rows: true class, columns: answer)")
        for label in classes.indices {
            let cells = classes.indices.map { confusion[label, $0] }.map { padded($0 == 0 ? "·" : "\($0)", width) }
            Swift.print(padded(String(classes[label].prefix(20)), nameWidth) + cells.joined())
        }
    }

    private func printWorst(_ limit: Int) {
        let worst = confusion.mistakes.prefix(limit)
        if !worst.isEmpty { Swift.print("most often confused:") }
        for (label, answer, count) in worst { Swift.print("  \(count) × \(classes[label]) taken for \(classes[answer])") }
    }
}
