import Configuration
import Basics
import ArgumentParser
import Evaluation
import Foundation
import Photographs
import Models
import Training

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate", abstract: "Measure checkpoints on labelled photographs.",
        discussion: """
            Uses the folder's val/ part, or the photographs that `train` holds out of it; --val-fraction 1 takes all of a folder that no model has \
            learnt from. Several checkpoints are measured each and together: the mean \
            of their posteriors, classes matched by name. --posteriors mixes what --save-posteriors kept, without running anything.
            """)

    @Option(
        parsing: .upToNextOption,
        help: "One or more .safetensors files, or runs' folders, which mean their last checkpoint.")
    var checkpoint: [String] = []

    @Option(help: "Folder of labelled photographs, as for `train`.") var data: String?

    @Option(
        help:
            "Share of the photographs to measure where the folder has no val/; 1 for all. Default: what the run held out, else 0.1."
    ) var valFraction: Double?

    @OptionGroup var views: ViewArguments

    @Option(
        help:
            "Write the posteriors of every view in NumPy's format, [views, photographs, classes], and what its axes mean to FILE.npy.json."
    ) var savePosteriors: String?

    @Option(
        parsing: .upToNextOption,
        help: "Files of --save-posteriors of the same photographs, in place of --checkpoint and --data.")
    var posteriors: [String] = []

    @Option(help: "Images of a mini-batch.") var batch = 64

    @OptionGroup var device: DeviceOptions

    @Option(help: "Threads that read photographs.") var workers = 2

    @OptionGroup var output: JSONOptions

    @Option(
        help:
            "Write the table of views to this file, what each class got to FILE.classes.csv, and the confusion to FILE.confusion.csv."
    ) var csv: String?

    func validate() throws {
        if posteriors.isEmpty {
            guard !checkpoint.isEmpty else {
                throw ValidationError("Missing expected argument '--checkpoint <checkpoint> ...'")
            }
            guard data != nil else { throw ValidationError("Missing expected argument '--data <data>'") }
            _ = try views.weights(models: checkpoint.count)
        } else {
            guard checkpoint.isEmpty, data == nil, savePosteriors == nil, valFraction == nil, !views.areMany
            else {
                throw ValidationError(
                    "--posteriors: nothing is run, so no --checkpoint, --data, --val-fraction, --save-posteriors or views may be given"
                )
            }
        }
        guard (1...65_536).contains(batch) else {
            throw ValidationError("--batch \(batch): expected 1 to 65536 images")
        }
        guard (1...256).contains(workers) else {
            throw ValidationError("--workers \(workers): expected 1 to 256 threads")
        }
        try Evaluation.validate(valFraction: valFraction)
        try OutputFile.requireWritable([
            ("--save-posteriors", savePosteriors.map { [$0, Posteriors.sidecar($0)] } ?? []),
            ("--csv", csv.map(ViewReport.csvFiles) ?? []), ("--json", output.json.map { [$0] } ?? []),
        ])
    }

    func run() throws { if posteriors.isEmpty { try evaluate() } else { try mix() } }

    private func evaluate() throws {
        let evaluation = try Evaluation(
            checkpoints: checkpoint, data: data ?? "", validationFraction: valFraction, views: views,
            batch: batch, workers: workers, device: device)
        let posteriors = evaluation.answer.posteriors
        guard !posteriors.files.isEmpty else {
            throw EvaluationError(
                "\(data ?? ""): none of the \(evaluation.set.count) photographs could be read")
        }
        if let savePosteriors { try posteriors.write(savePosteriors) }
        try report(posteriors, showsTable: views.areMany || checkpoint.count > 1)
        try Evaluation.requireNone(evaluation.answer.failures, of: evaluation.set.count)
    }

    private func mix() throws {
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
        // Files first: what has taken hours must not be lost to a pipe that is closed.
        try output.write(report.json)
        let csvFiles = csv.map(ViewReport.csvFiles) ?? []
        for (path, text) in zip(csvFiles, report.csv) { try AtomicFile.write(path, Array(text.utf8)) }

        ViewReport.printUnknownClasses(of: posteriors)
        let metrics = table.final.metrics
        func share(_ value: Double, _ interval: Interval) -> String {
            percent(value) + String(format: " (95 %%: %.1f–%.1f)", 100 * interval.low, 100 * interval.high)
        }
        let top5 = posteriors.classes.count > 5 ? ", top-5 \(share(metrics.top5, metrics.top5Interval))" : ""
        print(
            "\(metrics.images) image\(metrics.images == 1 ? "" : "s"): top-1 \(share(metrics.top1, metrics.top1Interval))\(top5), loss "
                + String(format: "%.4f", metrics.loss))
        if showsTable { report.print() }
        report.printClasses()
        ConfusionTable(classes: posteriors.classes, confusion: metrics.confusion).print()
        let written =
            (savePosteriors.map { [$0, Posteriors.sidecar($0)] } ?? []) + (output.json.map { [$0] } ?? [])
            + csvFiles
        if !written.isEmpty { print("written: " + written.joined(separator: ", ")) }
    }
}

extension Ensemble {
    /// `run`, with a progress bar.
    func runShowingProgress(_ set: ImageSet, batch: Int, workers: Int, heat: HeatRequest? = nil) throws
        -> Answer
    {
        let bar = ProgressBar()
        defer { bar.clear() }
        let start = ContinuousClock.now
        return try run(set, batch: batch, workers: workers, heat: heat) { share in
            let seconds = (ContinuousClock.now - start).seconds
            let left = ProgressBar.duration(seconds * (1 - share) / share)
            bar.draw(
                done: Int(1000 * share), of: 1000,
                String(format: "%.0f %% of \(set.count) images, ", 100 * share) + left + " left")
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
        for place in [
            path, path + "/checkpoints/last", URL(fileURLWithPath: path).deletingLastPathComponent().path,
        ] { if let share = try? Trainer.options(ofCheckpoint: place).validationFraction { return share } }
        return try? Trainer.options(ofRun: path).validationFraction
    }

    /// Names photographs that could not be used, once all else is done: they make the command fail.
    static func requireNone(_ failures: [ImageError], of count: Int) throws {
        guard !failures.isEmpty else { return }
        throw EvaluationError(
            "\(failures.count) of \(count) photographs could not be used and are left out of the figures:\n"
                + failures.prefix(20).map { "  left out: \($0)" }.joined(separator: "\n")
                + (failures.count > 20 ? "\n  and more" : ""))
    }

    static func validate(valFraction: Double?) throws {
        if let valFraction, !(valFraction > 0 && valFraction <= 1) {
            throw ValidationError("--val-fraction \(valFraction): expected a share above 0 and up to 1")
        }
    }

    /// Runs every view, with a progress bar.
    init(
        checkpoints: [String], data: String, validationFraction: Double?, views: ViewArguments, batch: Int,
        workers: Int, device: DeviceOptions
    ) throws {
        // All are looked at before anything is said or takes memory.
        let files = try checkpoints.map { try Checkpoint($0) }
        // What a run held out is what it has not learnt from. Files are chosen by a hash, so a smaller share
        // is a part of a larger one.
        let known = checkpoints.map { Evaluation.heldOutShare($0) }
        let least = known.compactMap { $0 }.min()
        let share = validationFraction ?? least ?? TrainingOptions().validationFraction
        let (photographs, total, isValidationFolder) = try Dataset.evaluation(root: data, fraction: share)
        if !isValidationFolder {
            if photographs.count < total {
                let which = validationFraction.map { "a share of \($0)" } ?? "those that `train` holds out"
                print(
                    "\(photographs.count) of the \(total) photographs in \(data): \(which) (--val-fraction 1 takes all)"
                )
            }
            if validationFraction == nil, Set(known).count > 1, !known.contains(nil) {
                print(
                    "the runs held out different shares; these are photographs that none of them has learnt from"
                )
            }
            if let validationFraction, let least, validationFraction > least {
                print(
                    "the runs held out no more than \(least) of their photographs; if these are the same, they have learnt from the others, and "
                        + "the figures flatter them")
            }
            for (path, share) in zip(checkpoints, known) where share == nil && validationFraction == nil {
                print(
                    "\(path) does not say which photographs it has learnt from; some of these may be among them (see --val-fraction)"
                )
            }
        }
        // Where one mini-batch would do, two: the first one of a view, in which its kernels are compiled,
        // says nothing of its speed.
        let batch = views.batch(min(batch, max(1, (photographs.count + 1) / 2)), files)
        ensemble = try views.ensemble(files, names: checkpoints, batch: batch, device: device)
        set = try photographs.relabelled(classes: ensemble.classes)
        let used = Set(photographs.classes)
        if let stranger = ensemble.models.first(where: { used.isDisjoint(with: $0.description.classes) }) {
            throw EvaluationError(
                "\(stranger.name) knows none of the classes in \(data) (\(photographs.classes.prefix(5).joined(separator: ", "))…), it has "
                    + "\(stranger.description.classes.prefix(5).joined(separator: ", "))…; leave it out, or give other photographs"
            )
        }
        answer = try ensemble.runShowingProgress(set, batch: batch, workers: workers)
    }
}

/// True classes against named ones: all of them where they fit a terminal, else the pairs most often
/// confused.
struct ConfusionTable {
    let classes: [String]
    let confusion: Confusion

    func print() { if classes.count <= 12 { printAll() } else { printWorst(10) } }

    private func printAll() {
        let width = max(5, (confusion.entries.map(\.count).max() ?? 0).description.count + 1)
        let nameWidth = min(20, classes.map(\.count).max() ?? 0)
        func padded(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count)) + text
        }
        Swift.print("confusion (rows: true class, columns: answer)")
        for label in classes.indices {
            let cells = classes.indices.map { confusion[label, $0] }.map {
                padded($0 == 0 ? "·" : "\($0)", width)
            }
            Swift.print(padded(String(classes[label].prefix(20)), nameWidth) + cells.joined())
        }
    }

    private func printWorst(_ limit: Int) {
        let worst = confusion.mistakes.prefix(limit)
        if !worst.isEmpty { Swift.print("most often confused:") }
        for (label, answer, count) in worst {
            Swift.print("  \(count) × \(classes[label]) taken for \(classes[answer])")
        }
    }
}
