import Compute
import TestSupport
import Testing

@testable import NeuralNet

@Suite struct ArchitectureTests {
    /// The kinds of layers, with the channels that each makes of one.
    private func layers(_ text: String) throws -> [String] {
        let input = FeatureShape(height: 8, width: 8, channels: 1)
        return try Architecture(parsing: text).layers.map { "\($0.kind) \($0.output(for: input).channels)" }
    }

    @Test func parses() throws {
        let architecture = try Architecture(parsing: " 32, 64 ,M,F10")
        #expect(
            try layers(" 32, 64 ,M,F10") == [
                "convolution 32", "convolution 64", "max_pooling 1", "fully_connected 10", "dropout 1",
            ])
        #expect(architecture.description == "32,64,M,F10")
        #expect(try Architecture(parsing: architecture.description) == architecture)
        #expect(try layers("F7,F8") == ["fully_connected 7", "dropout 1", "fully_connected 8", "dropout 1"])
    }

    /// The self-test reaches every kind of token by its sample, and each that takes maps also as the first.
    @Test func samplesHaveEveryKind() throws {
        let samples = Architecture.samples.map { $0.split(separator: ",") }
        for token in LayerToken.all {
            let layers = try #require(token.layers(token.sample[...]), "\(token.syntax)")
            let takesMaps = layers.allSatisfy { !$0.isClassifier }
            #expect(samples.allSatisfy { $0.contains(token.sample[...]) }, "\(token.syntax)")
            #expect(samples.contains { $0.first == token.sample[...] } == takesMaps, "\(token.syntax)")
        }
        for sample in Architecture.samples { _ = try Architecture(parsing: sample) }
    }

    @Test func names() throws {
        for (name, specification) in Architecture.named {
            #expect(try Architecture(parsing: name).specification == specification)
            #expect(try Architecture(parsing: name.uppercased()).specification == specification)
        }
        #expect(
            try Architecture(parsing: "linear").layers.isEmpty
                && Architecture(parsing: "linear").description == "linear")
        #expect(try Architecture(parsing: "vgg16").layers.count == 13 + 5 + 2 * 2)
    }

    @Test(arguments: [
        ("", "empty"), (" ", "empty"), ("32,,M", "''"), ("32,", "''"), ("m", "'m'"), ("32,X", "'X'"),
        ("0", "'0'"), ("-3", "'-3'"), ("+3", "'+3'"), ("F", "'F'"), ("F0", "'F0'"), ("f8", "'f8'"),
        ("F+8", "'F+8'"), ("3.5", "'3.5'"), ("65537", "'65537'"), ("99999999999999999999", "unknown"),
        ("F8,4", "'4' follows"), ("F8,M", "'M' follows"), ("resnet", "'resnet'"),
    ]) func refuses(text: String, part: String) {
        do {
            _ = try Architecture(parsing: text)
            Issue.record("'\(text)' was taken")
        } catch {
            let said = "\(error)"
            #expect(said.contains(part), "\(said)")
            // What to write instead.
            #expect(
                said.contains("after the first F")
                    || (said.contains("deepimage") && said.contains("32,M,64,M,F128")), "\(said)")
        }
    }
}

extension OnDevices {
    @Suite struct NetworkTests {
        private func parameters(_ model: String, imageSize: Int, classes: Int) throws -> [Parameter] {
            return try NetworkPlan(
                Architecture(parsing: model), imageSize: imageSize, classes: classes,
                options: .init(maximumBatch: 1, training: true), device: try #require(testDevices.first)
            ).parameters
        }

        /// The listing of torchvision's `vgg16().state_dict()`.
        @Test func namesAndShapesAreTorchvisions() throws {
            let features: [(Int, Int, Int)] = [
                (0, 64, 3), (2, 64, 64), (5, 128, 64), (7, 128, 128), (10, 256, 128), (12, 256, 256),
                (14, 256, 256), (17, 512, 256), (19, 512, 512), (21, 512, 512), (24, 512, 512),
                (26, 512, 512), (28, 512, 512),
            ]
            let classifier = [(0, 4096, 25088), (3, 4096, 4096), (6, 1000, 4096)]
            let expected =
                features.flatMap {
                    [("features.\($0).weight", [$1, $2, 3, 3]), ("features.\($0).bias", [$1])]
                }
                + classifier.flatMap {
                    [("classifier.\($0).weight", [$1, $2]), ("classifier.\($0).bias", [$1])]
                }
            let parameters = try parameters("vgg16", imageSize: 224, classes: 1000)
            #expect(parameters.map(\.name) == expected.map(\.0))
            #expect(parameters.map(\.shape) == expected.map(\.1))
            #expect(parameters.map(\.index) == Array(parameters.indices))
        }

        /// Weights of the whole network: 212.7 million in the paper's table 2, torchvision's figures for
        /// VGG-A and VGG-16.
        @Test(arguments: [("deepimage", 212_761_384), ("scaling", 132_863_336), ("vgg16", 138_357_544)])
        func parameterCounts(model: String, count: Int) throws {
            #expect(try parameters(model, imageSize: 224, classes: 1000).reduce(0) { $0 + $1.count } == count)
        }

        @Test(arguments: testDevices) func tooManyPoolings(description: DeviceDescription) throws {
            let error = try #require(
                #expect(throws: NetworkError.self) {
                    try Network(
                        Architecture(parsing: "4,M,M,M"), imageSize: 4, classes: 2,
                        options: .init(maximumBatch: 1, training: false), device: open(description))
                })
            #expect(error.kind == .tooManyPoolings(smallestImage: 8))
            #expect(error.description.contains("4,M,M,M") && error.description.contains("8×8"))
        }

        /// Normal initialisation, the same numbers on every device: He's deviation, and 0.01 for the last
        /// layer.
        @Test func initialisation() throws {
            var first: [[Float]]?
            for description in testDevices {
                let network = try Network(
                    Architecture(parsing: "32,M,F60"), imageSize: 8, classes: 10,
                    options: .init(maximumBatch: 1, training: false), device: open(description))
                try network.initialize(seed: 3)
                let values = try network.parameters.map { try network.export($0) }
                // Two over the inputs, but for the last layer.
                let variances = [2.0 / 27, 0, 2.0 / (16 * 32), 0, 1e-4, 0]
                for ((parameter, values), variance) in zip(zip(network.parameters, values), variances) {
                    if parameter.decays {
                        let count = Double(values.count)
                        let square = values.reduce(0.0) { $0 + Double($1) * Double($1) } / count
                        // Five deviations of a mean square of `count` normal numbers.
                        #expect(
                            abs(square / variance - 1) < 5 * (2 / count).squareRoot(), "\(parameter.name)")
                        #expect(
                            abs(values.reduce(0.0) { $0 + Double($1) } / count) < 5
                                * (square / count).squareRoot())
                    } else {
                        #expect(values.allSatisfy { $0 == 0 })
                    }
                }
                #expect(first == nil || first == values)
                first = values
                try network.initialize(seed: 4)
                #expect(try network.export(network.parameters[0]) != values[0])
            }
        }
    }
}
