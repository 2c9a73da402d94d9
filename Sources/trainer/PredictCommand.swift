import ArgumentParser
import Evaluation
import Foundation
import ImageData
import ModelFiles
import NeuralNet

struct PredictCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "predict", abstract: "Name what is on photographs.",
        discussion: "Several checkpoints (--checkpoint A --checkpoint B) are listed side by side, with the mean of their posteriors.")

    @Option(help: "A .safetensors file, or a run's folder, which means its last checkpoint. May be given several times.")
    var checkpoint: [String]

    @Argument(help: "Photographs (.jpg).")
    var images: [String]

    @Option(help: "How many classes to list for each.")
    var top = 5

    @OptionGroup var views: ViewArguments

    @Option(help: "Lay the posterior of this class, window by window, over the one photograph given; needs --out.")
    var heat: String?

    @Option(help: "The picture (.png) that --heat writes.")
    var out: String?

    @OptionGroup var device: DeviceOptions

    @OptionGroup var output: JSONOptions

    func validate() throws {
        for image in images {
            var isFolder: ObjCBool = false
            if FileManager.default.fileExists(atPath: image, isDirectory: &isFolder), isFolder.boolValue {
                throw ValidationError("\(image): this is a folder; name photographs (and give --checkpoint once for each model)")
            }
        }
        guard top >= 1 else { throw ValidationError("--top \(top): expected 1 or more") }
        guard (heat == nil) == (out == nil) else { throw ValidationError("--heat CLASS and --out FILE.png belong together") }
        if let out {
            guard images.count == 1 else { throw ValidationError("--heat: expected one photograph, \(images.count) were given") }
            guard (views.scales?.count ?? 1) == 1 else { throw ValidationError("--heat: expected one of --scales, or none") }
            try OutputFile.requireWritable(out, option: "--out")
        }
    }

    func run() throws {
        let ensemble = try views.ensemble(checkpoint, batch: min(32, images.count), device: device)
        if let heat, let out {
            let picture = try ensemble.heatMap(of: heat, on: images[0], shortSide: views.scales?.first)
            try AtomicFile.write(out, encodePNG(picture))
        }
        for difference in ensemble.classDifferences { print(difference) }
        let answer = try ensemble.run(ImageSet(paths: images, classes: ensemble.classes), batch: min(32, images.count), workers: 2)
        let posteriors = answer.posteriors
        let classes = posteriors.classes
        // Each model by all of its views; the single crop counts only where nothing else is asked for.
        let table = ViewTable(posteriors)
        let columns = posteriors.models.indices.map { model in
            posteriors.mean(posteriors.members(table.rows.last { $0.model == model }?.sources ?? [], weights: nil))
        }
        let mean = posteriors.mean(posteriors.members(table.final.sources, weights: nil))
        func best(_ values: [Float], _ row: Int) -> [(name: String, posterior: Float)] {
            let own = values[row * classes.count..<(row + 1) * classes.count]
            return Metrics.order(own).prefix(top).map { (classes[$0], own[own.startIndex + $0]) }
        }
        func list(_ entries: [(name: String, posterior: Float)]) -> JSON {
            .array(entries.map { .object([.init("class", .string($0.name)), .init("probability", .float($0.posterior))]) })
        }
        var objects: [JSON] = []
        var failures = answer.failures[...]
        for (file, row) in zip(images, answer.rows) {
            guard let row else {
                let error = failures.popFirst()?.description ?? "\(file): cannot be used"
                print(error)
                objects.append(.object([.init("file", .string(file)), .init("error", .string(error))]))
                continue
            }
            print(file)
            var members: [JSON.Member] = [.init("file", .string(file)), .init("top", list(best(mean, row)))]
            if columns.count == 1 {
                for entry in best(mean, row) { print(String(format: "  %5.1f %%  ", entry.posterior * 100) + entry.name) }
            } else {
                let lists = (columns + [mean]).map { best($0, row) }
                let head = posteriors.models.map { String($0.suffix(28)) } + ["mean"]
                ViewReport.printColumns(
                    [[""] + head]
                        + (0..<lists[0].count).map { place in
                            ["  \(place + 1)"] + lists.map { String(format: "%5.1f %%  ", $0[place].posterior * 100) + $0[place].name }
                        }, left: head.count + 1)
                members.append(
                    .init(
                        "models",
                        .array(
                            zip(posteriors.models, columns).map {
                                .object([.init("checkpoint", .string($0)), .init("top", list(best($1, row)))])
                            })))
            }
            objects.append(.object(members))
        }
        try output.write(.array(objects))
        let failed = answer.failures.count
        if failed > 0 { throw EvaluationError("\(failed) of \(images.count) photographs could not be read") }
    }
}
