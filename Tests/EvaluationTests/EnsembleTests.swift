import Compute
import Foundation
import Photographs
import Models
import NeuralNet
import Randomness
import TestSupport
import Testing

@testable import Evaluation

/// Runs photographs through networks on every device.
@Suite(.serialized) struct EnsembleTests {
    private let place: TemporaryFolder

    init() throws { place = try TemporaryFolder() }

    /// Writes a checkpoint with random weights, or with all weights equal.
    private func checkpoint(
        _ name: String = "model", classes: [String] = ["a", "b", "c"], size: Int = 16, shortSide: Int = 16,
        seed: UInt64 = 1, weights: Float? = nil, on device: Device
    ) throws -> Checkpoint {
        let architecture = try Architecture(parsing: "16,M,16,M,F16")
        let network = try Network(
            architecture, imageSize: size, classes: classes.count,
            options: .init(maximumBatch: 1, training: false), device: device)
        try network.initialize(seed: seed)
        if let weights {
            for parameter in network.parameters {
                try network.load(parameter, [Float](repeating: weights, count: parameter.count))
            }
        }
        let description = ModelDescription(
            architecture: architecture, classes: classes, imageSize: size, shortSide: shortSide,
            normalization: Normalization(mean: [0.5, 0.4, 0.3], deviation: [0.2, 0.3, 0.25]))
        let path = place.file(name + ".safetensors")
        try Checkpoint.write(network, description, to: path)
        return try Checkpoint(path)
    }

    /// Returns the answer of an ensemble of one or two models, which are named one and two.
    private func answer(
        _ checkpoints: [Checkpoint], _ options: ViewOptions, _ set: ImageSet, batch: Int,
        heat: Ensemble.HeatRequest? = nil, on device: Device, progress: (Double) throws -> Void = { _ in }
    ) throws -> Ensemble.Answer {
        let models = try zip(checkpoints, ["one", "two"]).map {
            try EvaluatedModel($0, name: $1, views: options, batch: batch, device: device)
        }
        return try Ensemble(models, device: device).run(
            set, batch: batch, workers: 2, heat: heat, progress: progress)
    }

    /// Writes photographs of these sizes, made of random blocks.
    private func photographs(_ sizes: [(Int, Int)]) throws -> [String] {
        try sizes.enumerated().map { index, size in
            var random = Philox(seed: UInt64(index), purpose: .scenes)
            let blocks = (0..<48).map { _ in UInt8(random.integer(below: 256)) }
            let pixels = (0..<size.0 * size.1).flatMap { place in
                let block = 3 * (place / size.0 * 4 / size.1 * 4 + place % size.0 * 4 / size.0)
                return Array(blocks[block..<block + 3])
            }
            let picture = DecodedImage(width: size.0, height: size.1, pixels: pixels)
            return try place.write(encodeJPEG(picture), "\(index).jpg")
        }
    }

    /// A photograph's posteriors do not depend on the other shapes in its mini-batch, or on their order.
    @Test(arguments: testDevices) func companyDoesNotMatter(description: DeviceDescription) throws {
        let device = try Device(description)
        let checkpoint = try checkpoint(on: device)
        let files = try photographs(
            [(40, 20), (20, 40), (20, 20), (40, 20), (33, 21), (20, 20), (20, 40)])
        let options = ViewOptions(isDense: true, mirrors: true, scales: [16, 20])
        func run(_ files: [String], batch: Int) throws -> Posteriors {
            let set = ImageSet(paths: files, classes: ["a", "b", "c"])
            return try self.answer([checkpoint], options, set, batch: batch, on: device).posteriors
        }
        let together = try run(files, batch: 5)
        #expect(together.sources.count == 5 && together.files == files)
        for (index, file) in files.enumerated() {
            let alone = try run([file], batch: 1)
            for source in together.sources.indices {
                #expect(
                    alone.values(of: 0, source: source) == together.values(of: index, source: source),
                    "\(file), view \(source)")
            }
        }
        // Every view has something else to say.
        #expect(Set(together.sourceMajorValues.map { $0[0] }).count == 5)
    }

    /// A square photograph at the training size has one window, so dense and crop agree, mirrored or not.
    @Test(arguments: testDevices) func denseIsTheCropAtTheTrainingSize(description: DeviceDescription)
        throws
    {
        let device = try Device(description)
        let checkpoint = try checkpoint(on: device)
        let files = try photographs([(16, 16), (24, 24)])
        let set = ImageSet(paths: files, classes: ["a", "b", "c"])
        func values(isDense: Bool) throws -> [[Float]] {
            let options = ViewOptions(isDense: isDense, mirrors: true, scales: [16])
            return try self.answer([checkpoint], options, set, batch: 2, on: device).posteriors
                .sourceMajorValues
        }
        let (dense, crops) = (try values(isDense: true), try values(isDense: false))
        #expect(dense.count == 3 && crops.count == 2)
        // The two kernels that normalise may round differently: a unit of the last place, which the
        // posteriors feel as little.
        for (a, b) in zip(dense[0] + dense[1] + dense[2], crops[0] + crops[0] + crops[1]) {
            #expect(abs(a - b) < 1e-6)
        }
        #expect(zip(dense[1], dense[2]).contains { abs($0 - $1) > 1e-4 }, "a mirror image is another")
    }

    /// The validator of training agrees with the central crop of an ensemble.
    @Test(arguments: testDevices) func agreesWithValidation(description: DeviceDescription) throws {
        let device = try Device(description)
        let checkpoint = try checkpoint(shortSide: 18, on: device)
        let files = try photographs([(30, 20), (20, 25), (20, 20)])
        let set = ImageSet(
            root: "", classes: ["a", "b", "c"],
            files: zip(files, [0, 1, 2]).map { ImageFile(path: $0, label: $1) })
        let network = try checkpoint.network(
            options: .init(maximumBatch: 2, training: false), device: device)
        let validator = try Validator(
            network: network, normalization: checkpoint.description.normalization, shortSide: 18)
        let plain = Metrics(try validator.images(of: set, workers: 1).images, classes: 3)
        let answer = try self.answer([checkpoint], ViewOptions(), set, batch: 2, on: device)
        let metrics = ViewTable(answer.posteriors).final.metrics
        #expect(metrics.top1 == plain.top1 && metrics.top5 == plain.top5)
        #expect(metrics.confusion == plain.confusion)
        // Posteriors and scores are both in single precision.
        #expect(abs(metrics.loss - plain.loss) < 1e-5 * plain.loss)
        #expect(abs(metrics.calibrationError - plain.calibrationError) < 1e-5)
    }

    @Test func modelsOfOtherSizesAndClasses() throws {
        let device = try Device(#require(presentDevices.first))
        let first = try checkpoint("first", on: device)
        let second = try checkpoint(
            "second", classes: ["c", "d", "a"],
            size: 20, shortSide: 24, seed: 2, on: device)
        var files = try photographs([(40, 30), (30, 30)])
        files.insert(place.file("missing.jpg"), at: 1)
        let set = ImageSet(paths: files, classes: ["a", "b", "c", "d"])
        var shares: [Double] = []
        let answer = try self.answer(
            [first, second], ViewOptions(isDense: true), set, batch: 2, on: device
        ) { shares.append($0) }
        #expect(answer.posteriors.classes == set.classes)
        try #require(answer.rows == [0, nil, 1] && answer.failures.count == 1)
        #expect(answer.failures[0].file == files[1])
        #expect(shares == shares.sorted() && abs((shares.last ?? 0) - 1) < 1e-9)
        #expect(
            answer.posteriors.unknownClasses == [["d"], ["b"]] && answer.posteriors.leftOut.count == 1)
        // 14 is smaller than the first model's window.
        #expect(answer.posteriors.sources.map(\.view.shortSide) == [16, 16, 18, 24, 21, 24, 27])
        for (source, values) in zip(answer.posteriors.sources, answer.posteriors.sourceMajorValues) {
            let unknown = source.model == 0 ? 3 : 1
            #expect(values.count == 8 && values[unknown] == 0 && values[4 + unknown] == 0)
            #expect(abs(values.prefix(4).reduce(0, +) - 1) < 1e-6)
        }
    }

    /// Finite weights may give scores that are not numbers.
    @Test func scoresThatAreNoNumbers() throws {
        let device = try Device(#require(presentDevices.first))
        let checkpoint = try checkpoint(weights: 1e30, on: device)
        let files = try photographs([(20, 20)])
        let set = ImageSet(paths: files, classes: ["a", "b", "c"])
        let error = #expect(throws: EvaluationError.self) {
            try answer([checkpoint], ViewOptions(), set, batch: 1, on: device)
        }
        #expect(
            error?.description.contains("one: its answer to \(files[0]) is not a number") == true,
            "\(String(describing: error))")
    }

    /// The first mini-batch of a view does not count for its speed.
    @Test func speedIsOfLaterMiniBatches() throws {
        let device = try Device(#require(presentDevices.first))
        let checkpoint = try checkpoint(on: device)
        let files = try photographs([(20, 20), (20, 20), (20, 20)])
        let set = ImageSet(paths: files, classes: ["a", "b", "c"])
        for (batch, isKnown) in [(3, false), (2, true)] {
            let posteriors = try self.answer(
                [checkpoint], ViewOptions(mirrors: true), set, batch: batch, on: device
            ).posteriors
            #expect(ViewTable(posteriors).rows.allSatisfy { ($0.imagesPerSecond != nil) == isKnown })
        }
    }

    /// The map of a dense view of the ensemble equals a map that is computed separately.
    @Test(arguments: testDevices) func heat(description: DeviceDescription) throws {
        let device = try Device(description)
        let first = try checkpoint("first", on: device)
        let second = try checkpoint(
            "second", classes: ["c", "d"], size: 20, shortSide: 24, seed: 2, on: device)
        let files = try photographs([(40, 30), (30, 30)])
        func run(_ options: ViewOptions, _ name: String, _ files: [String], shortSide: Int? = nil) throws
            -> [ScoreMap]
        {
            let set = ImageSet(paths: files, classes: ["a", "b", "c", "d"])
            return try self.answer(
                [first, second], options, set, batch: 2,
                heat: .init(className: name, shortSide: shortSide), on: device
            ).heat
        }
        let maps = try run(ViewOptions(isDense: true, mirrors: true), "c", files)
        // At short sides of 16 and 24 with poolings of 4 in all; windows of 4 × 4 and 5 × 5 cells.
        #expect(maps.map(\.height) == [1, 2] && maps.map(\.width) == [2, 4])
        #expect(maps.map(\.pixelWidth) == [21, 32])
        #expect(maps.allSatisfy { $0.values.count == $0.height * $0.width && Set($0.values).count > 1 })
        let crops = try run(ViewOptions(), "c", files)
        #expect(crops.map(\.values) == maps.map(\.values))
        #expect(try run(ViewOptions(), "d", files).map(\.values) != [maps[1].values])
        #expect(try run(ViewOptions(), "d", files).count == 1)
        #expect(try run(ViewOptions(isDense: true), "a", files, shortSide: 20).map(\.height) == [2])
        // If posteriors are averaged, the map's mean over windows is the view's posterior of the class.
        let answer = try self.answer(
            [first], ViewOptions(isDense: true, scales: [20], averaging: .posteriors),
            ImageSet(paths: files, classes: ["a", "b", "c"]), batch: 2,
            heat: .init(className: "b", shortSide: 20), on: device)
        let values = answer.heat[0].values
        #expect(
            abs(values.reduce(0, +) / Float(values.count) - answer.posteriors.values(of: 0, source: 1)[1])
                < 1e-6)

        let error = #expect(throws: EvaluationError.self) { try run(ViewOptions(), "e", files) }
        #expect(
            error?.description.contains(
                "e: no model has a class of this name; expected one of a, b, c, d") == true)
        #expect(error?.kind == .unknownClass)
        #expect(try run(ViewOptions(), "d", [place.file("missing.jpg")]).isEmpty)
        let picture = try ScoreMap.overlay(maps, photograph: files[0])
        #expect((picture.width, picture.height) == (341, 256 + ScoreMap.scaleHeight))
    }
}

@Suite struct ComparisonPageTests {
    @Test func holdsEverythingItself() throws {
        let classes = ["<cat>", "dog", "c", "d", "e", "f"]
        let a: [Float] = [0.9, 0.1, 0, 0, 0, 0, 0.1, 0.9, 0, 0, 0, 0, 0.5, 0.3, 0.2, 0, 0, 0]
        let b: [Float] = [0.2, 0.8, 0, 0, 0, 0, 0.2, 0.8, 0, 0, 0, 0, 0.2, 0.5, 0.3, 0, 0, 0]
        let posteriors = try Posteriors(
            models: ["run \"A\"", "run B"], classes: classes,
            files: ["val/1.jpg", "val/2.jpg", "val/3.jpg"], labels: [0, 1, 1], values: [a, b])
        var asked: [String] = []
        let page = try ComparisonPage(ViewTable(posteriors), title: "A & B", limit: 2) { file in
            asked.append(file)
            return [1, 2, 3]
        }.html()
        // Only A is right on 1, only B on 3; hardest by the mean: 3 with 0.4, then 1 with 0.55.
        #expect(asked == ["val/3.jpg", "val/1.jpg", "val/3.jpg", "val/1.jpg"])
        #expect(page.contains("<h1>A &amp; B</h1>") && page.contains("run &quot;A&quot;"))
        #expect(page.contains("&lt;cat&gt;"))
        #expect(!page.contains("<cat>") && !page.contains("http"), "nothing is fetched from elsewhere")
        #expect(page.contains("data:image/jpeg;base64,AQID"))
        #expect(page.contains("Only B is right on 1, only A on 1"))
        #expect(page.contains("prefers-color-scheme: dark"))
        for title in [
            "B is right, A is wrong", "A is right, B is wrong", "Confusion", "Hardest photographs",
            "Accuracy by class", "Calibration",
        ] { #expect(page.contains("<h2>\(title)</h2>"), "\(title)") }
    }

    /// With many classes the matrix is drawn, with a square for each pair that occurs, and lists all classes.
    @Test func manyClasses() throws {
        let classes = (0..<120).map { "class \($0)" }
        func values(_ shift: Int) -> [Float] {
            (0..<120).flatMap { label in
                classes.indices.map { $0 == (label + (label < 3 ? shift : 0)) % 120 ? 0.9 : 0.0005 }
            }
        }
        let posteriors = try Posteriors(
            classes: classes, labels: Array(classes.indices), values: [values(1), values(0)])
        let page = try ComparisonPage(ViewTable(posteriors), title: "many", limit: 1) { _ in [1] }.html()
        #expect(page.components(separatedBy: "<rect class=\"right\"").count - 1 == 117 + 120)
        #expect(page.components(separatedBy: "<rect class=\"wrong\"").count - 1 == 3)
        #expect(page.contains("<title>1 of 1 class 2: class 3</title>"))
        #expect(page.contains("1 × class 2 taken for class 3"))
        #expect(page.components(separatedBy: "<th scope=\"row\">class ").count - 1 == 120)
        #expect(page.contains("<summary>80 more, which differ less</summary>"))
    }
}
