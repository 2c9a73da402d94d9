import ArgumentParser
import Basics
import Configuration
import Evaluation
import Foundation
import Models
import Photographs
import Training

/// Options of the commands that run checkpoints on a folder of labelled photographs.
struct FolderEvaluationOptions: ParsableArguments {
    @Option(
        help: """
            Share of the photographs to use if the folder has no val/ part; 1 for all. Default: what the \
            runs held out, else 0.1.
            """) var valFraction: Double?

    @OptionGroup var views: ViewArguments
    @Option(help: OptionHelp.batch) var batch = 64
    @OptionGroup var device: DeviceOptions
    @Option(help: OptionHelp.workers) var workers = 2

    func validate() throws {
        try require("--batch", batch, in: 1...65_536, "images")
        try require("--workers", workers, in: 1...256, "threads")
        if let valFraction, !(valFraction > 0 && valFraction <= 1) {
            throw ValidationError("--val-fraction \(valFraction): expected a share above 0 and up to 1")
        }
    }
}

/// Runs checkpoints on the photographs of a folder that their training held out.
struct FolderEvaluation {
    let set: ImageSet
    let posteriors: Posteriors
    private let failures: [ImageError]
    private let views: ViewArguments

    /// Runs every view, with a progress bar.
    ///
    /// - Throws: `EvaluationError`, also if no photograph can be read.
    init(checkpoints: [String], data: String, _ options: FolderEvaluationOptions) throws {
        views = options.views
        // All checkpoints are checked before anything is printed or takes memory.
        let files = try checkpoints.map { try Checkpoint($0) }
        let photographs = try FolderEvaluation.photographs(
            data, fraction: options.valFraction, checkpoints: checkpoints)
        // The first mini-batch is not timed, so there should be at least two.
        let batch = views.batch(min(options.batch, max(1, (photographs.count + 1) / 2)), files)
        let ensemble = try views.ensemble(files, names: checkpoints, batch: batch, device: options.device)
        set = try photographs.relabelled(classes: ensemble.classes)
        let used = Set(photographs.classes)
        if let stranger = ensemble.models.first(where: { used.isDisjoint(with: $0.description.classes) }) {
            throw EvaluationError(
                "\(stranger.name) knows none of the classes in \(data) "
                    + "(\(photographs.classes.prefix(5).joined(separator: ", "))…), it has "
                    + "\(stranger.description.classes.prefix(5).joined(separator: ", "))…; "
                    + "leave it out, or give other photographs")
        }
        let answer = try ensemble.runShowingProgress(set, batch: batch, workers: options.workers)
        (posteriors, failures) = (answer.posteriors, answer.failures)
        guard !posteriors.files.isEmpty else {
            throw EvaluationError("\(data): none of the \(set.count) photographs could be read")
        }
    }

    /// Fails if photographs were left out; called when everything else is done.
    func requireAllUsed() throws { try views.requireNone(failures, of: set.count) }

    /// Returns the photographs to evaluate on, and prints which ones they are.
    ///
    /// The runs have not learnt from what they held out. A hash of its path decides whether a file is held
    /// out, so a smaller share is a part of a larger one.
    private static func photographs(_ data: String, fraction: Double?, checkpoints: [String]) throws
        -> ImageSet
    {
        let heldOut = checkpoints.map(heldOutShare)
        let least = heldOut.compactMap { $0 }.min()
        let share = fraction ?? least ?? TrainingOptions().validationFraction
        let (photographs, total, isValidationFolder) = try Dataset.evaluation(root: data, fraction: share)
        if isValidationFolder { return photographs }
        if photographs.count < total {
            let which = fraction.map { "a share of \($0)" } ?? "those that `train` holds out"
            print(
                "\(photographs.count) of the \(total) photographs in \(data): \(which) "
                    + "(--val-fraction 1 takes all)")
        }
        if let fraction {
            if let least, fraction > least {
                print(
                    "the runs held out only \(least) of their photographs; if this is the folder that they "
                        + "were trained on, the result includes training photographs and is too good")
            }
            return photographs
        }
        if Set(heldOut).count > 1, !heldOut.contains(nil) {
            print("the runs held out different shares; none of them has learnt from these photographs")
        }
        for (path, share) in zip(checkpoints, heldOut) where share == nil {
            print(
                "\(path) does not say which photographs it has learnt from; some of these may be among them "
                    + "(see --val-fraction)")
        }
        return photographs
    }

    /// Returns the share of photographs that a checkpoint's run held out; nil if its folder does not say.
    private static func heldOutShare(_ path: String) -> Double? {
        for place in [
            path, path + "/checkpoints/last", URL(fileURLWithPath: path).deletingLastPathComponent().path,
        ] { if let share = try? Trainer.options(ofCheckpoint: place).validationFraction { return share } }
        return try? Trainer.options(ofRun: path).validationFraction
    }
}
