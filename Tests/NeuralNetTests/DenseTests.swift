import Benchmarks
import Compute
import Oracle
import TestSupport
import Testing

@testable import DeviceInput
@testable import NeuralNet

extension OnDevices {
    /// Fully connected layers over every window of an image's last map.
    @Suite struct DenseTests {
        private static let classes = 5
        private static let row = FeatureShape(height: 1, width: 1, channels: classes)

        private func network(
            _ specification: String, size: Int, batch: Int = 3,
            convolution: ConvolutionAlgorithm? = nil, on device: Device
        ) throws -> Network {
            let options = Network.Options(
                maximumBatch: batch, training: false,
                convolution: convolution.map { ConvolutionAlgorithms($0) })
            let network = try Network(
                Architecture(parsing: specification), imageSize: size, classes: Self.classes,
                options: options, device: device)
            try network.initialize(seed: 3)
            // Biases that are not zero, so that a forgotten one shows, and a last layer of distinct scores.
            let last = network.parameters.count - 2
            for parameter in network.parameters where !parameter.decays || parameter.index == last {
                var numbers = TestNumbers(parameter.index)
                try network.load(parameter, numbers.floats(parameter.count))
            }
            return network
        }

        /// Images of three sizes, two of them in a run, whose bytes tell them apart.
        private func images(_ runs: [DenseNetwork.Run]) -> [[Float]] {
            var numbers = TestNumbers(runs.count)
            return runs.flatMap { run in
                (0..<run.count).map { _ in numbers.floats(3 * run.height * run.width) }
            }
        }

        private func load(_ images: [[Float]]) -> DenseNetwork.Load {
            { buffer, first, part in
                let shape = FeatureShape.image(height: part.height, width: part.width)
                try buffer.write(images[first..<first + part.count].flatMap { shape.stored($0) })
            }
        }

        /// The scores of every window, `[windows][classes]`, and how many windows each product had.
        private func scores(_ dense: DenseNetwork, _ runs: [DenseNetwork.Run], _ images: [[Float]]) throws
            -> (rows: [Float], parts: [Int])
        {
            var rows: [Float] = []
            var parts: [Int] = []
            try dense.forward(runs, load: load(images)) { scores, part in
                #expect(part.lowerBound == parts.reduce(0, +))
                parts.append(part.count)
                rows += Self.row.unstored(try scores.read(part.count * dense.network.logitsStride))
            }
            return (rows, parts)
        }

        /// Odd sizes that the poolings cut, no and several hidden layers, no convolution, no pooling, more
        /// units than a panel or a wide tile has.
        @Test(
            arguments: testDevices,
            [
                ("16,M,20,M,F33,F18", 9), ("16,M", 6), ("20,F70", 3), ("16,M,16,M,16,F16,F80,F16", 13),
                ("", 4), ("M,16,M,F20", 11), ("M,20,F19", 9), ("16,16,M,24,24,M,F64", 8),
            ]) func equalsItsDefinition(
                description: DeviceDescription, sample: (specification: String, size: Int)
            ) throws
        {
            let (specification, size) = sample
            let device = try open(description)
            let network = try network(
                specification.isEmpty ? "linear" : specification, size: size, on: device)
            let dense = try DenseNetwork(network)
            let oracle = try OracleNetwork(network.plan)
            let parameters = try network.parameters.map { try network.export($0).doubles }
            let runs = [
                DenseNetwork.Run(height: size, width: size, count: 1),
                DenseNetwork.Run(height: size + 5, width: 2 * size + 3, count: 2),
                DenseNetwork.Run(height: 2 * size + 1, width: size + 1, count: 1),
            ]
            let images = images(runs)
            let maps = try dense.maps(runs)
            #expect(maps.count == 4)
            let scores = try scores(dense, runs, images).rows
            #expect(scores.count == maps.reduce(0) { $0 + $1.count } * Self.classes)
            let means = Self.row.unstored(try dense.logits(runs, load: load(images)))
            let sizes = runs.flatMap { run in Array(repeating: (run.height, run.width), count: run.count) }
            for (index, map) in maps.enumerated() {
                let exact = oracle.denseForward(
                    images[index].doubles, height: sizes[index].0,
                    width: sizes[index].1, parameters: parameters)
                #expect((map.height, map.width) == (exact.rows, exact.columns))
                let first = map.firstRow * Self.classes
                let own = Array(scores[first..<first + map.count * Self.classes])
                #expect(relativeError(own, exact.logits) < Tolerance.winograd4, "image \(index)")
                let mean = (0..<Self.classes).map { label in
                    stride(from: label, to: exact.logits.count, by: Self.classes).reduce(0) {
                        $0 + exact.logits[$1]
                    } / Double(map.count)
                }
                #expect(
                    relativeError(Array(means[index * Self.classes..<(index + 1) * Self.classes]), mean)
                        < Tolerance.winograd4, "image \(index)")
            }
            #expect(maps[0].count == 1 && maps[1].count > 1)
        }

        /// More windows than the scratch memory has rows, in products whose depth GPUs cut into slots.
        @Test(arguments: testDevices) func manyRowsRunInParts(description: DeviceDescription) throws {
            let device = try open(description)
            let network = try network("M,20,F19", size: 9, batch: 2, on: device)
            let oracle = try OracleNetwork(network.plan)
            let runs = [DenseNetwork.Run(height: 40, width: 44, count: 1)]
            let images = images(runs)
            let (scores, parts) = try scores(DenseNetwork(network), runs, images)
            #expect(parts.contains { $0 > 128 }, "\(parts)")
            let exact = oracle.denseForward(
                images[0].doubles, height: 40, width: 44,
                parameters: try network.parameters.map { try network.export($0).doubles })
            #expect(relativeError(scores, exact.logits) < Tolerance.winograd4)
        }

        /// Every algorithm of a convolution, on maps that are not square.
        @Test(arguments: testDevices, ConvolutionAlgorithm.allCases) func algorithms(
            description: DeviceDescription, algorithm: ConvolutionAlgorithm
        ) throws {
            let device = try open(description)
            let network = try network(
                "16,20,M,24,F20", size: 8, batch: 2, convolution: algorithm, on: device)
            let oracle = try OracleNetwork(network.plan)
            let runs = [DenseNetwork.Run(height: 11, width: 23, count: 1)]
            let images = images(runs)
            let dense = try DenseNetwork(network)
            let scores = try scores(dense, runs, images).rows
            let exact = oracle.denseForward(
                images[0].doubles, height: 11, width: 23,
                parameters: try network.parameters.map { try network.export($0).doubles })
            #expect(
                relativeError(scores, exact.logits)
                    < (algorithm == .winograd4 ? Tolerance.winograd4 : Tolerance.sum))
        }

        /// At the training size dense evaluation gives the bits of the plain network, which works afterwards.
        @Test(arguments: testDevices) func equalsThePlainNetwork(description: DeviceDescription) throws {
            let device = try open(description)
            let network = try network("16,M,20,20,M,F70,F18", size: 10, on: device)
            let runs = [DenseNetwork.Run(height: 10, width: 10, count: 3)]
            let images = images(runs)
            func plain() throws -> [Float] {
                try network.input.write(images.flatMap { network.inputShape.stored($0) })
                try network.forward(Pass(batch: 3, training: false))
                return try network.logits.read(3 * network.logitsStride)
            }
            let before = try plain()
            let dense = try DenseNetwork(network)
            #expect(try dense.logits(runs, load: load(images)) == before)
            _ = try dense.logits([.init(height: 17, width: 31, count: 2)]) { buffer, _, part in
                try buffer.write([Float](repeating: 1, count: part.count * part.height * part.width * 4))
            }
            #expect(try plain() == before && before.contains { $0 != 0 })
        }

        /// More images and windows than a pass and a product take give the bits of each image by itself.
        @Test(arguments: testDevices) func partsDoNotMatter(description: DeviceDescription) throws {
            let device = try open(description)
            let network = try network("16,M,F20", size: 4, batch: 2, on: device)
            let dense = try DenseNetwork(network)
            let runs: [DenseNetwork.Run] = [
                .init(height: 70, width: 80, count: 4), .init(height: 5, width: 4, count: 2),
            ]
            let images = images(runs)
            #expect(try scores(dense, runs, images).parts.count > 1, "more than one product's rows")
            let together = try dense.logits(runs, load: load(images))
            let (posteriors, windows) = try dense.posteriors(
                runs, averaging: .posteriors, label: 2, load: load(images))
            var done = 0
            for (index, size) in [(70, 80), (70, 80), (70, 80), (70, 80), (5, 4), (5, 4)].enumerated() {
                let own = [DenseNetwork.Run(height: size.0, width: size.1, count: 1)]
                let range = index * network.logitsStride..<(index + 1) * network.logitsStride
                #expect(
                    try dense.logits(own, load: load([images[index]])) == Array(together[range]),
                    "image \(index)")
                let alone = try dense.posteriors(
                    own, averaging: .posteriors, label: 2, load: load([images[index]]))
                #expect(alone.images == Array(posteriors[range]), "image \(index)")
                #expect(alone.windows == Array(windows[done..<done + alone.windows.count]), "image \(index)")
                done += alone.windows.count
            }
            #expect(done == windows.count)
        }

        @Test(arguments: testDevices) func averaging(description: DeviceDescription) throws {
            let device = try open(description)
            let network = try network("16,M,F20", size: 6, on: device)
            let dense = try DenseNetwork(network)
            let runs: [DenseNetwork.Run] = [
                .init(height: 12, width: 9, count: 1), .init(height: 6, width: 6, count: 1),
            ]
            let images = images(runs)
            let rows = try scores(dense, runs, images).rows.doubles
            func softmax(_ scores: [Double]) -> [Double] {
                let rows = scores.count / 5
                return Oracle.softmaxCrossEntropy(
                    scores, rows: rows, classes: 5, labels: Array(repeating: 0, count: rows), scale: 1
                ).probabilities
            }
            let count = try dense.maps(runs)[0].count
            #expect(count == 8 && rows.count == 9 * Self.classes)
            func mean(_ values: [Double]) -> [Double] {
                (0..<5).map { label in (0..<count).reduce(0) { $0 + values[$1 * 5 + label] } / Double(count) }
            }
            let last = softmax(Array(rows[(count * 5)...]))
            for (averaging, exact) in [
                (DenseNetwork.Averaging.logits, softmax(mean(rows)) + last),
                (.posteriors, mean(softmax(rows)) + last),
            ] {
                let answer = try dense.posteriors(runs, averaging: averaging, label: 3, load: load(images))
                #expect(
                    relativeError(Self.row.unstored(answer.images), exact) < Tolerance.softmax, "\(averaging)"
                )
                #expect(
                    relativeError(
                        answer.windows, stride(from: 3, to: rows.count, by: 5).map { softmax(rows)[$0] })
                        < Tolerance.softmax)
            }
            #expect(
                relativeError(softmax(mean(rows)).map { Float($0) }, mean(softmax(rows))) > 1e-3,
                "the two are not the same")
        }

        @Test(arguments: testDevices) func tooSmallAView(description: DeviceDescription) throws {
            let network = try network("16,M,16,M,F20", size: 12, on: open(description))
            let dense = try DenseNetwork(network)
            #expect(dense.smallestSide == 12 && dense.stride == 4)
            #expect(try dense.mapSize(height: 12, width: 16) == (1, 2))
            let error = #expect(throws: NetworkError.self) { try dense.mapSize(height: 11, width: 40) }
            #expect(error?.kind == .viewTooSmall(smallestSide: 12))
            let message = error?.description ?? ""
            for part in ["a view of 11×40 pixels", "2×10", "3×3", "12 pixels or more"] {
                #expect(message.contains(part), "\(message)")
            }
        }

        /// The whole photograph, mirrored or not, as a plain crop of its size has it.
        @Test(arguments: testDevices) func wholePhotographs(description: DeviceDescription) throws {
            let device = try open(description)
            let normalization = Normalization(mean: [0.4, 0.5, 0.6], deviation: [0.2, 0.3, 0.25])
            var numbers = TestNumbers(8)
            let (height, width) = (5, 7)
            let photographs = (0..<2).map { _ in
                numbers.integers(3 * height * width, below: 256).map { UInt8($0) }
            }
            let bytes = try Buffer(device, photographs[0] + [9, 9, 9] + photographs[1] + [0])
            let offsets = try Buffer(device, [UInt64(0), UInt64(3 * height * width + 3)])
            let input = try DenseInput(device: device, normalization: normalization)
            for isMirrored in [false, true] {
                for first in [0, 1] {
                    let count = 2 - first
                    let output = try Guarded(device, count: count * height * width * 4)
                    try input.load(
                        bytes: bytes, offsets: offsets, first: first, count: count, height: height,
                        width: width, isMirrored: isMirrored, output: output.buffer)
                    let exact = photographs[first...].flatMap {
                        Oracle.cropMirrorNormalize(
                            $0, height: height, width: width, top: 0, left: 0, cropHeight: height,
                            cropWidth: width, mirror: isMirrored, mean: normalization.mean.doubles,
                            deviation: normalization.deviation.doubles)
                    }
                    let shape = FeatureShape.image(height: height, width: width)
                    // 255 · mean is rounded before it is taken away: a few units of the last place of 150,
                    // over 60.
                    #expect(
                        relativeError(shape.unstored(try output.values()), exact) < 2 * Tolerance.elementwise)
                }
            }
        }
    }
}
