import ArgumentParser
import Basics
import Configuration
import Evaluation
import Foundation
import Models
import Photographs

struct PredictCommand: ParsableCommand, RunsOnRanks {
    static let configuration = CommandConfiguration(
        commandName: "predict", abstract: "Classify photographs.",
        discussion:
            "Several checkpoints (--checkpoint A --checkpoint B) are shown side by side, and their mean. "
            + "Under mpirun the ranks share the photographs.")

    @Option(
        help: "A .safetensors file, or a run folder, which stands for its best checkpoint. Can be repeated.")
    var checkpoint: [String]

    @Argument(help: "Photographs (JPEG, PNG or WebP), or folders of them.") var images: [String]
    @Option(help: "Number of classes to list for each photograph.") var top = 5
    @OptionGroup var views: ViewArguments

    @Option(help: "Draw the posterior of this class over the photograph, window by window; needs --out.")
    var heat: String?

    @Option(help: "The picture (.png) that --heat writes.") var out: String?
    @OptionGroup var device: DeviceOptions
    @OptionGroup var output: JSONOptions
    @Option(help: "Write one line per photograph and listed class to this file.") var csv: String?

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
                    "--heat: a map has one short side; give a single value for --scales, or leave it out")
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

    /// Returns the paths of the given photographs, and of those in the given folders, each once.
    ///
    /// - Parameters:
    ///   - unused: receives what is not used in the folders.
    ///   - listings: receives the lines that say where its names are.
    private func photographs(_ unused: inout UnusedFiles, _ listings: inout [String]) throws -> [String] {
        var (folders, listed): (Set<String>, Set<String>) = ([], [])
        return try images.flatMap { image -> [String] in
            var isFolder: ObjCBool = false
            guard FileManager.default.fileExists(atPath: image, isDirectory: &isFolder), isFolder.boolValue
            else { return [image] }
            guard folders.insert(image).inserted else { return [] }
            let found = try Dataset.photographs(below: image)
            unused.add(found.unused.below(image))
            listings += [found.unused.listing(data: image)].compactMap { $0 }
            guard !found.paths.isEmpty else {
                let isRun = FileManager.default.fileExists(atPath: image + "/checkpoints")
                let others = found.unused.conversions.map { "; " + $0 }.joined()
                throw EvaluationError(
                    "\(image): no photograph in this folder\(others)"
                        + (isRun ? "; several models are given as --checkpoint A --checkpoint B" : ""))
            }
            return found.paths.filter { listed.insert($0).inserted }
        }
    }

    func run() throws {
        let job = try Job.join()
        var unused = UnusedFiles()
        var listings: [String] = []
        let images = try photographs(&unused, &listings)
        guard heat == nil || images.count == 1 else {
            throw EvaluationError("--heat: expected one photograph, \(images.count) were given")
        }
        var files = try checkpoint.map { try Checkpoint($0) }
        let renamed = try views.nameClasses(of: &files)
        if Job.isFirst { for line in renamed { print(line) } }
        let batch = views.batch(min(32, images.count), files)
        let ensemble = try views.ensemble(
            files, names: checkpoint, batch: batch, device: device, ranks: job)
        let answer = try ensemble.runShowingProgress(
            ImageSet(paths: images, classes: ensemble.classes), batch: batch,
            workers: TrainingOptions().workers, ranks: job,
            heat: heat.map { Ensemble.HeatRequest(className: $0, shortSide: views.scales?.first) })
        guard Job.isFirst else { return }
        let lists = try ClassLists(
            answer.posteriors, weights: views.weights(models: checkpoint.count), top: top,
            words: files.reduce(into: [:]) { $0.merge($1.description.words) { first, _ in first } })

        var objects: [JSON] = []
        var rows: [[String]] = []
        var lines: [String] = []
        var failures = answer.failures[...]
        for (file, row) in zip(images, answer.rows) {
            guard let row else {
                let error = failures.popFirst()?.description ?? "\(file): cannot be used"
                lines.append(error)
                rows.append([file, "", "", error, ""])
                objects.append(["file": file, "error": error])
                continue
            }
            lines += [file] + lists.lines(row)
            rows += lists.mean(row).map {
                [file, $0.name, "\($0.posterior)", "", lists.words[$0.name] ?? ""]
            }
            objects.append(["file": file] + lists.json(row))
        }
        // Files come first: a closed pipe must not lose the result of hours.
        try output.write(.array(objects))
        if let csv {
            let text = CSV.text(header: ["file", "class", "probability", "error", "words"], rows: rows)
            try AtomicFile.write(csv, Array(text.utf8))
        }
        let hasMap = !answer.heat.isEmpty
        if let out, hasMap {
            try AtomicFile.write(out, encodePNG(ScoreMap.overlay(answer.heat, photograph: images[0])))
        }

        for line in unused.lines + listings.prefix(3) { print(line) }
        ViewReport.printUnknownClasses(of: answer.posteriors, limit: 8)
        for line in lines { print(line) }
        let written = [csv, output.json].compactMap { $0 }
        if !written.isEmpty { print("written: " + written.joined(separator: ", ")) }
        if let out, let heat, hasMap {
            print("written: \(out), from dark blue where the posterior of \(heat) is 0 to red where it is 1")
        }
        try views.requireNone(answer.failures, of: images.count, listed: 0)
    }
}

/// Lists the most probable classes of photographs: those of each model, and those of the mean.
private struct ClassLists {
    typealias Entry = (name: String, posterior: Float)

    private let posteriors: Posteriors
    /// Each model's mean over its views; the central crop counts only if no other view is requested.
    private let models: [Posteriors.Mixture]
    private let final: Posteriors.Mixture
    private let top: Int
    /// Words for classes whose names say little.
    let words: [String: String]

    init(_ posteriors: Posteriors, weights: [Double]?, top: Int, words: [String: String]) {
        self.posteriors = posteriors
        self.top = top
        self.words = words
        let table = ViewTable(posteriors, weights: weights)
        models = posteriors.models.indices.compactMap { table.best(model: $0)?.mixture }
        final = table.final.mixture
    }

    /// Returns the list of the mean for one row of the posteriors.
    func mean(_ row: Int) -> [Entry] { list(final, row) }

    private func list(_ mixture: Posteriors.Mixture, _ row: Int, unknown: Set<String> = []) -> [Entry] {
        let own = posteriors.mean(mixture, of: row)
        let order = Metrics.order(own).filter { !unknown.contains(posteriors.classes[$0]) }
        return order.prefix(top).map { (posteriors.classes[$0], own[$0]) }
    }

    private func byModel(_ row: Int) -> [[Entry]] {
        zip(models, posteriors.unknownClasses).map { list($0, row, unknown: Set($1)) }
    }

    /// Returns the list of the mean; with several models a table of all lists.
    func lines(_ row: Int) -> [String] {
        let mean = mean(row)
        func percent(_ entry: Entry) -> String { String(format: "%5.1f %%  ", 100 * entry.posterior) }
        func name(_ entry: Entry) -> String { entry.name + (words[entry.name].map { " " + $0 } ?? "") }
        if models.count == 1 { return mean.map { "  \(percent($0))\(name($0))" } }
        let lists = byModel(row) + [mean]
        var table = TextTable(
            header: [""] + posteriors.models.map { String($0.suffix(28)) } + ["mean"], [.left])
        for place in mean.indices {
            table.add(
                ["  \(place + 1)"]
                    + lists.map { place < $0.count ? percent($0[place]) + $0[place].name : "" })
        }
        return table.lines
    }

    func json(_ row: Int) -> JSON {
        func json(_ entries: [Entry]) -> JSON {
            .array(
                entries.map { entry in
                    let words: JSON = words[entry.name].map { ["words": $0] } ?? [:]
                    return ["class": entry.name] + words + ["probability": entry.posterior]
                })
        }
        let mean: JSON = ["top": json(mean(row))]
        if models.count == 1 { return mean }
        return mean + [
            "models": zip(posteriors.models, byModel(row)).map {
                ["checkpoint": $0, "top": json($1)] as JSON
            }
        ]
    }
}
