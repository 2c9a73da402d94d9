import Basics
import ArgumentParser
import Evaluation
import Foundation
import Photographs
import Models

struct PredictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict", abstract: "Name what is on photographs.",
        discussion:
            "Several checkpoints (--checkpoint A --checkpoint B) are listed side by side, with the mean of their posteriors."
    )

    @Option(
        help:
            "A .safetensors file, or a run's folder, which means its last checkpoint. May be given several times."
    ) var checkpoint: [String]

    @Argument(help: "Photographs (.jpg), or folders of them.") var images: [String]

    @Option(help: "How many classes to list for each.") var top = 5

    @OptionGroup var views: ViewArguments

    @Option(
        help: "Lay the posterior of this class, window by window, over the one photograph given; needs --out."
    ) var heat: String?

    @Option(help: "The picture (.png) that --heat writes.") var out: String?

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    @Option(help: "Write a line for each photograph and class of its list to this file.") var csv: String?

    func validate() throws {
        guard top >= 1 else { throw ValidationError("--top \(top): expected 1 or more") }
        guard (heat == nil) == (out == nil) else {
            throw ValidationError("--heat CLASS and --out FILE.png belong together")
        }
        if let out {
            guard images.count == 1 else {
                throw ValidationError("--heat: expected one photograph, \(images.count) were given")
            }
            guard (views.scales?.count ?? 1) == 1 else {
                throw ValidationError(
                    "--heat: a map is of one short side; give one of --scales, or leave it out")
            }
            guard out.lowercased().hasSuffix(".png") else {
                throw ValidationError("--out \(out): expected a name that ends in .png")
            }
        }
        _ = try views.weights(models: checkpoint.count)
        try OutputFile.requireWritable([
            ("--out", out.map { [$0] } ?? []), ("--csv", csv.map { [$0] } ?? []),
            ("--json", output.json.map { [$0] } ?? []),
        ])
    }

    /// The photographs named, and those in the folders named, by their paths.
    private func photographs() throws -> [String] {
        try images.flatMap { image -> [String] in
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: image, isDirectory: &isFolder), isFolder.boolValue
            else { return [image] }
            let found = try Dataset.photographs(below: image)
            guard !found.isEmpty else {
                let isRun = FileManager.default.fileExists(atPath: image + "/checkpoints")
                throw EvaluationError(
                    "\(image): no .jpg or .jpeg file in this folder"
                        + (isRun ? "; several models are given as --checkpoint A --checkpoint B" : ""))
            }
            return found
        }
    }

    func run() throws {
        let images = try photographs()
        guard heat == nil || images.count == 1 else {
            throw EvaluationError("--heat: expected one photograph, \(images.count) were given")
        }
        let files = try checkpoint.map { try Checkpoint($0) }
        let batch = views.batch(min(32, images.count), files)
        let ensemble = try views.ensemble(files, names: checkpoint, batch: batch, device: device)
        let answer = try ensemble.runShowingProgress(
            ImageSet(paths: images, classes: ensemble.classes), batch: batch, workers: 2,
            heat: heat.map { Ensemble.HeatRequest(className: $0, shortSide: views.scales?.first) })
        let posteriors = answer.posteriors
        let classes = posteriors.classes
        // Each model by all of its views; the single crop counts only where nothing else is asked for.
        let table = ViewTable(posteriors, weights: try views.weights(models: checkpoint.count))
        let columns = posteriors.models.indices.compactMap { model in
            table.best(model: model).map {
                (mixture: $0.mixture, known: Set(ensemble.models[model].description.classes))
            }
        }
        func best(_ mixture: Posteriors.Mixture, _ row: Int, known: Set<String>? = nil) -> [(
            name: String, posterior: Float
        )] {
            let own = posteriors.mean(mixture, of: row)
            let order = Metrics.order(own).filter { known?.contains(classes[$0]) ?? true }
            return order.prefix(top).map { (classes[$0], own[$0]) }
        }
        func list(_ entries: [(name: String, posterior: Float)]) -> JSON {
            .array(
                entries.map {
                    .object([.init("class", .string($0.name)), .init("probability", .float($0.posterior))])
                })
        }
        var objects: [JSON] = []
        var rows = ["file,class,probability,error"]
        // Printed when the files are written: what has taken long must not be lost to a pipe that is closed.
        var shown: [String] = []
        var failures = answer.failures[...]
        for (file, row) in zip(images, answer.rows) {
            guard let row else {
                let error = failures.popFirst()?.description ?? "\(file): cannot be used"
                shown.append(error)
                rows.append("\(ViewReport.quoted(file)),,,\(ViewReport.quoted(error))")
                objects.append(.object([.init("file", .string(file)), .init("error", .string(error))]))
                continue
            }
            shown.append(file)
            let mean = best(table.final.mixture, row)
            var members: [JSON.Member] = [.init("file", .string(file)), .init("top", list(mean))]
            if columns.count == 1 {
                shown += mean.map { String(format: "  %5.1f %%  ", $0.posterior * 100) + $0.name }
            } else {
                let own = columns.map { best($0.mixture, row, known: $0.known) }
                let head = posteriors.models.map { String($0.suffix(28)) } + ["mean"]
                let lines = mean.indices.map { place in
                    ["  \(place + 1)"]
                        + (own + [mean]).map {
                            place < $0.count
                                ? String(format: "%5.1f %%  ", $0[place].posterior * 100) + $0[place].name
                                : ""
                        }
                }
                shown += ViewReport.columns([[""] + head] + lines, left: head.count + 1)
                members.append(
                    .init(
                        "models",
                        .array(
                            zip(posteriors.models, own).map {
                                .object([.init("checkpoint", .string($0)), .init("top", list($1))])
                            })))
            }
            if output.json != nil { objects.append(.object(members)) }
            if csv != nil {
                rows += mean.map {
                    "\(ViewReport.quoted(file)),\(ViewReport.quoted($0.name)),\($0.posterior),"
                }
            }
        }
        try output.write(.array(objects))
        if let csv { try AtomicFile.write(csv, Array((rows.joined(separator: "\n") + "\n").utf8)) }
        let hasMap = !answer.heat.isEmpty
        if let out, hasMap {
            try AtomicFile.write(out, encodePNG(ScoreMap.overlay(answer.heat, photograph: images[0])))
        }

        ViewReport.printUnknownClasses(of: posteriors, limit: 8)
        for line in shown { print(line) }
        let written = [csv, output.json].compactMap { $0 }
        if !written.isEmpty { print("written: " + written.joined(separator: ", ")) }
        if let out, let heat, hasMap {
            print("written: \(out), from dark blue where the posterior of \(heat) is 0 to red where it is 1")
        }
        let failed = answer.failures.count
        if failed > 0 { throw EvaluationError("\(failed) of \(images.count) photographs could not be read") }
    }
}
