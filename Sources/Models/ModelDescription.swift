import Basics
import Foundation
import NeuralNet

/// Describes a checkpoint's model apart from its weights: what new photographs require.
public struct ModelDescription: Sendable, Equatable {
    public var architecture: Architecture
    public var classes: [String]
    /// Words for classes whose names say little, such as “tench, Tinca tinca” for “n01440764”.
    public var words: [String: String]
    /// Side of the network's square input in pixels.
    public var imageSize: Int
    /// Pixels to which a photograph's shorter side is resized before it is cropped.
    public var shortSide: Int
    public var normalization: Normalization
    /// Completed epochs and steps.
    public var epoch: Int
    public var step: Int
    public var seed: UInt64

    public init(
        architecture: Architecture, classes: [String], imageSize: Int, shortSide: Int,
        normalization: Normalization, epoch: Int = 0, step: Int = 0, seed: UInt64 = 0,
        words: [String: String] = [:]
    ) {
        self.architecture = architecture
        self.classes = classes
        self.words = words
        self.imageSize = imageSize
        self.shortSide = shortSide
        self.normalization = normalization
        self.epoch = epoch
        self.step = step
        self.seed = seed
    }

    /// Returns the default short side: 8/7 of the crop, as 256 is to 224.
    public static func usualShortSide(imageSize: Int) -> Int { (imageSize * 8 + 3) / 7 }

    /// The metadata of `model.safetensors`; without time, host or device, so equal runs give equal bytes.
    var metadata: [String: String] {
        var metadata = [
            "model": architecture.description, "classes": classes.json.text,
            "image_size": "\(imageSize)", "short_side": "\(shortSide)",
            "mean": normalization.mean.json.text, "deviation": normalization.deviation.json.text,
            "epoch": "\(epoch)", "step": "\(step)", "seed": "\(seed)",
        ]
        if classes.contains(where: { words[$0] != nil }) {
            metadata["class_words"] = classes.map { words[$0] ?? "" }.json.text
        }
        return metadata
    }

    /// Whether the names of the classes are only numbers, as in a model without metadata.
    public var hasNumberedClasses: Bool { classes == Self.numberedClasses(classes.count) }

    private static func numberedClasses(_ count: Int) -> [String] { (0..<count).map { "class \($0)" } }

    /// The sides of images that networks can take, in pixels.
    public static let imageSizes = 1...16_384

    /// Reads the metadata; if the file has none, infers the model from the tensors.
    init(_ file: SafetensorsFile) throws {
        guard file.metadata["model"] != nil else {
            self = try ModelDescription(inferring: file)
            return
        }
        func text(_ key: String) throws -> String {
            guard let value = file.metadata[key] else {
                throw FileError(
                    path: file.path, found: "the metadata has no '\(key)'",
                    expected: "a checkpoint of this program", remedy: "Give another checkpoint")
            }
            return value
        }
        func wrong(_ key: String, _ expected: String) throws -> FileError {
            FileError(
                path: file.path, found: "the metadata's '\(key)' is '\(try text(key))'", expected: expected,
                remedy: "Give another checkpoint")
        }
        func integer(_ key: String, _ range: ClosedRange<Int>) throws -> Int {
            guard let value = Int(try text(key)), range.contains(value) else {
                throw try wrong(key, "a whole number from \(range.lowerBound) to \(range.upperBound)")
            }
            return value
        }
        func three(_ key: String) throws -> [Float] {
            guard let elements = try? JSON.parse(text(key)).array, elements.count == 3 else {
                throw try wrong(key, "a list of three numbers")
            }
            return try elements.map {
                guard let value = $0.double, value.isFinite, key != "deviation" || value > 0 else {
                    throw try wrong(key, "three finite numbers, deviations above 0")
                }
                return Float(value)
            }
        }
        do { architecture = try Architecture(parsing: text("model")) } catch let error as NetworkError {
            throw try wrong("model", "a specification (\(error))")
        }
        guard let names = try? JSON.parse(text("classes")).array, names.count >= 2 else {
            throw try wrong("classes", "a list of two or more names")
        }
        classes = try names.map {
            guard let name = $0.string else { throw try wrong("classes", "a list of names") }
            return name
        }
        guard Set(classes).count == classes.count else { throw try wrong("classes", "each name once") }
        words = [:]
        if let list = file.metadata["class_words"] {
            guard let texts = try? JSON.parse(list).array?.map({ $0.string ?? "" }),
                texts.count == classes.count
            else { throw try wrong("class_words", "a text for each of the \(classes.count) classes") }
            for (name, text) in zip(classes, texts) where !text.isEmpty { words[name] = text }
        }
        imageSize = try integer("image_size", ModelDescription.imageSizes)
        guard imageSize >= architecture.smallestImage else {
            let smallest = architecture.smallestImage
            throw try wrong("image_size", "\(smallest) or more, as the poolings of '\(architecture)' need")
        }
        shortSide = try integer("short_side", ModelDescription.imageSizes)
        normalization = Normalization(mean: try three("mean"), deviation: try three("deviation"))
        epoch = try integer("epoch", 0...Int.max)
        step = try integer("step", 0...Int.max)
        guard let seed = UInt64(try text("seed")) else { throw try wrong("seed", "a whole number") }
        self.seed = seed
    }

    /// Infers the layers of a torchvision VGG, which has no metadata, from the tensors' names and shapes.
    ///
    /// The rest are torchvision's conventions: the short side is 8/7 of the crop, ImageNet's mean and
    /// deviation, and numbered classes.
    private init(inferring file: SafetensorsFile) throws {
        let foreign = FileError(
            path: file.path,
            found: "neither metadata of this program nor the names of torchvision's VGG "
                + "(features.0.weight, classifier.0.weight …)",
            expected: "a checkpoint of this program, or a torchvision VGG without batch normalisation",
            remedy: "Save the model as safetensors with torchvision's names")
        func indices(_ prefix: String) -> [Int] {
            file.tensors.keys.compactMap { name in
                guard name.hasPrefix(prefix + "."), name.hasSuffix(".weight") else { return nil }
                return Int(name.dropFirst(prefix.count + 1).dropLast(7))
            }.filter { (0..<1000).contains($0) }.sorted()
        }
        var tokens: [String] = []
        let features = indices("features")
        for (place, index) in features.enumerated() {
            guard let shape = file.tensors["features.\(index).weight"]?.shape, shape.count == 4,
                shape[2...] == [3, 3]
            else { throw foreign }
            tokens.append("\(shape[0])")
            // Convolution and ReLU are two modules; a third before the next convolution is a pooling. VGG
            // ends with a pooling.
            let gap = place + 1 < features.count ? features[place + 1] - index : 3
            guard gap == 2 || gap == 3 else { throw foreign }
            if gap == 3 { tokens.append("M") }
        }
        let classifier = indices("classifier")
        let shapes = classifier.compactMap { file.tensors["classifier.\($0).weight"]?.shape }
        guard let last = shapes.last, shapes.allSatisfy({ $0.count == 2 }), (2...1_000_000).contains(last[0]),
            !features.isEmpty
        else { throw foreign }
        tokens += shapes.dropLast().map { "F\($0[0])" }
        do { architecture = try Architecture(parsing: tokens.joined(separator: ",")) } catch { throw foreign }
        // The sizes of an empty tensor may be close to the largest integer, so each is bounded before they
        // are multiplied.
        let channels = file.tensors["features.\(features[features.count - 1]).weight"]?.shape[0] ?? 1
        let side = Int(Double(shapes[0][1] / channels).squareRoot().rounded())
        guard side >= 1, side <= ModelDescription.imageSizes.upperBound / architecture.smallestImage,
            side * side * channels == shapes[0][1]
        else { throw foreign }
        imageSize = side * architecture.smallestImage
        shortSide = ModelDescription.usualShortSide(imageSize: imageSize)
        classes = Self.numberedClasses(last[0])
        words = [:]
        normalization = Normalization(mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225])
        (epoch, step, seed) = (0, 0, 0)
    }
}
