import ArgumentParser
import Basics
import Collectives
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
            List of files and classes (CSV), without class folders. Default for a run's set: its list.
            """) var labels: String?

    @Option(
        help: """
            Share to measure if there is no val/; 1: all. Default: what the run held out, or else all.
            """) var valFraction: Double?

    @OptionGroup var views: ViewArguments
    @Option(help: OptionHelp.batch) var batch = 64
    @OptionGroup var device: DeviceOptions
    @Option(help: OptionHelp.workers) var workers = TrainingOptions().workers

    func validate() throws {
        try requireAsTrain("batch", batch)
        try requireAsTrain("workers", workers)
        if let valFraction, !(valFraction > 0 && valFraction <= 1) {
            throw ValidationError("--val-fraction \(valFraction): expected a share above 0 and up to 1")
        }
    }
}

/// Runs checkpoints on a folder of labelled photographs: on what their training held out of it, or on all.
struct FolderEvaluation {
    let set: ImageSet
    let posteriors: Posteriors
    private let failures: [ImageError]
    private let views: ViewArguments

    /// Runs every view, with a progress bar.
    ///
    /// - Throws: `EvaluationError`, also if no photograph can be read.
    init(
        checkpoints: [String], data: String, _ options: FolderEvaluationOptions,
        ranks: (any Communicator)? = nil
    ) throws {
        views = options.views
        // All checkpoints are checked before anything is printed or takes memory.
        var files = try checkpoints.map { try Checkpoint($0) }
        let selection = try Selection(data, options, checkpoints: checkpoints)
        let photographs = selection.measured.set
        let names = try views.nameClasses(of: &files, selection.classes)
        let known = files.flatMap(\.description.classes)
        if Set(photographs.classes).isDisjoint(with: known), let below = Dataset.setBelow(data) {
            throw Dataset.nested(data, below)
        }
        let lines = names + selection.lines(classes: files.map(\.description.classes))
        if Job.isFirst { for line in lines { print(line) } }
        // The first mini-batch is not timed, so there should be at least two.
        let batch = views.batch(min(options.batch, max(1, (photographs.count + 1) / 2)), files)
        let ensemble = try views.ensemble(
            files, names: checkpoints, batch: batch, device: options.device, ranks: ranks)
        set = try photographs.relabelled(classes: ensemble.classes)
        let used = Set(photographs.classes)
        if let stranger = ensemble.models.first(where: { used.isDisjoint(with: $0.description.classes) }) {
            throw EvaluationError(
                "\(stranger.name) knows none of the classes in \(data) "
                    + "(\(photographs.classes.prefix(5).joined(separator: ", "))…), it has "
                    + "\(stranger.description.classes.prefix(5).joined(separator: ", "))…; "
                    + (stranger.description.hasNumberedClasses
                        ? "name them with --classes MANIFEST" : "leave it out, or give other photographs"))
        }
        let answer = try ensemble.runShowingProgress(
            set, batch: batch, workers: options.workers, ranks: ranks)
        (posteriors, failures) = (answer.posteriors, answer.failures)
        guard !posteriors.files.isEmpty else {
            throw EvaluationError("\(data): none of the \(set.count) photographs could be read")
        }
    }

    /// Fails if photographs were left out; called when everything else is done.
    func requireAllUsed() throws { try views.requireNone(failures, of: set.count) }
}

/// Chooses the photographs of a folder that are measured, and says which ones they are.
private struct Selection {
    let measured: LabelledFolder.Measured
    private let data: String
    private let labels: String?
    private let fraction: Double?
    private let folder: LabelledFolder
    /// Whether training has held these photographs out of a run's own folder.
    private var isHeldOut = false
    private var remarks: [String] = []

    /// The classes of all photographs, in order.
    var classes: ClassNames { ClassNames(folder.classes) }

    /// - Parameter checkpoints: the paths of the models
    init(_ data: String, _ options: FolderEvaluationOptions, checkpoints: [String]) throws {
        self.data = data
        fraction = options.valFraction
        let origins = checkpoints.map { Trainer.origin(ofModel: $0) }
        let here = origins.compactMap { $0 }.filter { Self.isSame($0.options.data, data) }
        labels = options.labels ?? here.first?.options.labels
        folder = try LabelledFolder(root: data, labels: labels)
        var shares: [Double] = []
        for (path, origin) in zip(checkpoints, origins) {
            guard let origin else {
                remarks.append(
                    "\(path) does not say which photographs it has learnt from, which may be among these"
                )
                continue
            }
            let share = origin.options.validationFraction
            if folder.fingerprint(validationFraction: share) == origin.fingerprint {
                shares.append(share)
            } else if Self.isSame(origin.options.data, data) {
                shares.append(share)
                remarks.append(
                    "photographs were added, removed or changed since \(path) was trained on them, so it may "
                        + "have learnt from a few of these")
            } else if Self.isInside(data, origin.options.data) || Self.isInside(origin.options.data, data) {
                remarks.append(
                    "\(path) was trained on \(origin.options.data), so it has learnt from photographs that "
                        + "may be among these")
            }
        }
        if let fraction {
            measured = try folder.measured(fraction < 1 ? .heldOut(fraction: fraction) : .all)
            if let least = shares.min(), fraction > least, !measured.isValidationPart {
                remarks.append(
                    "training held out only a share of \(least), so the result includes photographs that it "
                        + "has learnt from, and is too good")
            }
        } else if let least = shares.min() {
            measured = try folder.measured(.heldOut(fraction: least))
            isHeldOut = true
            if Set(shares).count > 1, !measured.isValidationPart {
                remarks.append("the runs held out different shares; none has learnt from these photographs")
            }
        } else {
            measured = try folder.measured(.all)
            if measured.parts.count > 1 {
                remarks.append("to measure only the validation part, give --data \(measured.parts[1].path)")
            }
        }
    }

    /// Returns lines for the user; the first one says what is measured.
    ///
    /// - Parameter classes: the classes of each model
    func lines(classes: [[String]]) -> [String] {
        let (count, total) = (measured.set.count, measured.total)
        let photographs = total == 1 ? "photograph" : "photographs"
        let counts = measured.set.countsByClass
        let present = counts.count { $0 > 0 }
        let ofClasses = present == 1 ? "of 1 class" : "of \(present) classes"
        let line: String
        if measured.isValidationPart {
            line =
                "the \(total) \(photographs) \(ofClasses) in \(measured.parts[0].path), the validation part"
        } else if isHeldOut {
            line = "\(count) of the \(total) \(photographs) in \(data): those that training held out"
        } else if let fraction, fraction < 1 {
            line = "\(count) of the \(total) \(photographs) in \(data): a share of \(fraction)"
        } else if measured.parts.count > 1 {
            let parts = measured.parts.map { "\($0.count) in \($0.path)" }.joined(separator: " and ")
            line = "all \(total) \(photographs) \(ofClasses) in \(data): \(parts)"
        } else {
            line = "all \(total) \(photographs) \(ofClasses) in \(measured.parts[0].path)"
        }
        var lines = ["measuring \(line)"]
        let names = Set(zip(measured.set.classes, counts).filter { $1 > 0 }.map(\.0))
        let known = classes.reduce(into: [String]()) { all, own in all += own.filter { !all.contains($0) } }
        let missing = known.filter { !names.contains($0) }
        if !missing.isEmpty {
            lines.append(
                "no photograph of \(missing.count) of the \(known.count) classes: "
                    + missing.map { "“\($0)”" }.listed(atMost: 5))
        }
        let listing = folder.unused.listing(data: data, labels: labels)
        return lines + folder.notes + remarks + folder.unused.lines + [listing].compactMap { $0 }
    }

    private static func real(_ path: String) -> String {
        URL(fileURLWithPath: path).resolvingSymlinksInPath().standardizedFileURL.path
    }

    private static func isSame(_ path: String, _ other: String) -> Bool { real(path) == real(other) }

    private static func isInside(_ path: String, _ other: String) -> Bool {
        real(path).hasPrefix(real(other) + "/")
    }
}
