import Basics
import Compute
import DeviceInput
import NeuralNet
import Oracle
import Randomness

extension SelfTest {
    /// Kernels that small networks do not reach, or not with all that they do.
    static let kernelChecks = [
        product("A · B", m: 67, n: 48, k: 36, .plain), product("Aᵀ · B", m: 68, n: 48, k: 13, .aTransposed),
        product("A · Bᵀ", m: 7, n: 48, k: 528, .bTransposed),
        product("A · B, deep", m: 5, n: 80, k: 1060, .panels),
        product("A · B, large tiles", m: 131, n: 144, k: 36, .plain, ["product.wanted-groups": 1]),
        product("Aᵀ · B, large tiles", m: 132, n: 144, k: 13, .aTransposed, ["product.wanted-groups": 1]),
        product(
            "A · B, tall work-items", m: 131, n: 144, k: 36, .plain,
            ["product.wanted-groups": 1, "product.item-rows": 16]),
        product(
            "A · Bᵀ, tall work-items", m: 131, n: 48, k: 528, .bTransposed,
            ["product.wanted-groups": 1, "product.item-rows": 16]),
        product(
            "Aᵀ · B, tall work-items", m: 132, n: 144, k: 13, .aTransposed,
            ["product.wanted-groups": 1, "product.item-rows": 16, "product.largest-tile-n": 128]),
        product("A · B, in parts", m: 5, n: 272, k: 36, .plain, ["product.largest-operations": 1]),
        product("A · Bᵀ, in parts", m: 131, n: 48, k: 528, .bTransposed, ["product.largest-operations": 1]),
        Check("packing for products", limit: 0, packing),
        Check("softmax, many classes", limit: Tolerance.softmax, softmax),
        Check("softmax, soft targets", limit: Tolerance.softmax, softTargets),
        Check("mixing images", limit: Tolerance.elementwise, mixing),
        Check("dropout's mask", limit: 0, dropout),
        Check("update with clipping", limit: Tolerance.elementwise) { try update($0, .sgd) },
        Check("update of AdamW", limit: Tolerance.elementwise) { try update($0, .adamw) },
        Check("average of weights", limit: Tolerance.elementwise, averaging),
        Check("adding gradients", limit: 0, addition),
        // A place is off by at most 2^-16 of a pixel, so a value of 0…255 with noise of 40 levels by 0.004.
        Check("augmentation", limit: 1e-4, augmentation),
        Check("input of dense evaluation", limit: 2 * Tolerance.elementwise, denseInput),
        Check("multiply-adds on registers", limit: 0, arithmetic),
        Check("reading and writing memory", limit: 0, memoryAccess),
    ]

    private struct Numbers {
        var random: Philox

        init(_ seed: UInt64) { random = Philox(seed: seed, purpose: .benchmark) }

        mutating func floats(_ count: Int, in range: ClosedRange<Float> = -1...1) -> [Float] {
            (0..<count).map { _ in random.uniform(in: range) }
        }
    }

    private static func doubles(_ values: [Float]) -> [Double] { values.map { Double($0) } }

    /// Memory that shows what a kernel leaves out.
    private static func unwritten(_ device: Device, _ count: Int) throws -> Buffer {
        try Buffer(device, [Float](repeating: .nan, count: count))
    }

    // MARK: - Matrix products

    private enum Form { case plain, aTransposed, bTransposed, panels }

    private static func product(
        _ name: String, m: Int, n: Int, k: Int, _ form: Form, _ changes: [String: Int] = [:]
    ) -> Check {
        Check("product \(name)", limit: Tolerance.sum) { device in
            try device.tuning.setPresent(changes)
            return try productError(.init(m: m, n: n, k: k), (m, n, k), form, on: device)
        }
    }

    private static func productError(
        _ size: MatrixProduct.Size, _ sizes: (m: Int, n: Int, k: Int), _ form: Form, on device: Device
    ) throws -> Double {
        let (m, n, k) = sizes
        var numbers = Numbers(UInt64(m * k))
        let (a, b, bias) = (numbers.floats(m * k), numbers.floats(k * n), numbers.floats(n))
        let product = try MatrixProduct(device: device)
        let c = try unwritten(device, m * n)
        let slices = Slices(of: k.roundedUp(to: 16), atMost: Slices.standard)
        let needed =
            form == .bTransposed
            ? MatrixProduct.scratch(size, slices: slices.count, tuning: device.tuning)
            : (a: 0, c: MatrixProduct.scratch(size, tuning: device.tuning))
        let scratch = (a: try unwritten(device, needed.a), c: try unwritten(device, needed.c))
        let (aBuffer, bBuffer) = (
            try Buffer(device, a), try Buffer(device, form == .panels ? panels(b, n) : b)
        )
        let biasBuffer = try Buffer(device, bias)
        switch form {
        case .plain:
            try product.multiply(
                .init(aBuffer, columns: k), .rowMajor(bBuffer, columns: n), into: .rowMajor(c, columns: n),
                bias: biasBuffer, size: size, options: [.bias, .relu])
        case .aTransposed:
            // A is stored k × m.
            try product.multiply(
                .init(aBuffer, columns: m, isTransposed: true), .rowMajor(bBuffer, columns: n),
                into: .rowMajor(c, columns: n), bias: biasBuffer, size: size, options: [.bias, .relu])
        case .bTransposed:
            // B is stored n × k, in panels of 16 of k.
            try product.multiply(
                aBuffer, byTransposed: Buffer(device, panels(b, k)), into: c, size: size,
                slices: (slices.count, slices.size), scratch: scratch)
        case .panels:
            try product.multiply(
                rows: aBuffer, byPanels: bBuffer, into: c, bias: biasBuffer,
                size: size, isReLUApplied: true, scratch: scratch.c)
        }
        let sums = Oracle.gemm(
            doubles(a), doubles(b), rows: m, columns: n, depth: k, transposeA: form == .aTransposed,
            transposeB: form == .bTransposed)
        let exact =
            form == .bTransposed
            ? sums : sums.indices.map { max(0, sums[$0] + Double(bias[$0 % n])) }
        return relativeError(try c.read(m * n), exact)
    }

    /// Returns a row-major matrix in panels of 16 columns.
    private static func panels(_ values: [Float], _ columns: Int) -> [Float] {
        let rows = values.count / columns
        return values.indices.map { place in
            values[place / 16 % rows * columns + place / (16 * rows) * 16 + place % 16]
        }
    }

    /// Counts the numbers that packing puts in a wrong place.
    private static func packing(_ device: Device) throws -> Double {
        // The products of other bodies read matrices where they lie.
        guard !device.tuning.sharesGroups else { return 0 }
        let (k, n) = (67, 35)
        let columns = n.roundedUp(to: 16)
        let values = (1...k * n).map { Float($0) }
        let turned = values.indices.map { values[$0 % k * n + $0 / k] }
        let padded = (0..<k * columns).map { $0 % columns < n ? values[$0 / columns * n + $0 % columns] : 0 }
        let product = try MatrixProduct(device: device)
        let (packed, turnedPacked) = try (unwritten(device, k * columns), unwritten(device, k * columns))
        try product.pack(Buffer(device, values), into: packed, k: k, n: n)
        try product.packTransposed(Buffer(device, turned), into: turnedPacked, k: k, n: n, width: 16)
        return try [packed, turnedPacked].map {
            differences(try $0.read(k * columns), panels(padded, columns))
        }.reduce(0, +)
    }

    private static func differences<Element: Equatable>(_ values: [Element], _ exact: [Element]) -> Double {
        Double(zip(values, exact).count { $0 != $1 })
    }

    // MARK: - Loss and update

    private static func softmax(_ device: Device) throws -> Double {
        let (rows, classes) = (5, 1003)
        let columns = classes.roundedUp(to: 16)
        var numbers = Numbers(3)
        let scores = numbers.floats(rows * classes, in: -2...2)
        let labels = (0..<rows).map { row in
            // The best class of some rows.
            row % 2 == 0
                ? (0..<classes).max { scores[row * classes + $0] < scores[row * classes + $1] } ?? 0
                : 17 * row
        }
        let weights: [Float] = [1, 0.5, 0, 2, 1]
        let padded = (0..<rows * columns).map {
            $0 % columns < classes ? scores[$0 / columns * classes + $0 % columns] : 1e30
        }
        func unpadded(_ values: [Float]) -> [Float] {
            values.indices.filter { $0 % columns < classes }.map { values[$0] }
        }
        let loss = try SoftmaxCrossEntropy(device: device, classes: classes, maximumBatch: rows)
        let logits = try Buffer(device, padded)
        let (gradient, probabilities) = (
            try unwritten(device, padded.count), try unwritten(device, padded.count)
        )
        try loss.forwardBackward(
            logits: logits, labels: Buffer(device, labels.map { Int32($0) }),
            weights: Buffer(device, weights),
            gradient: gradient, scale: 0.25, step: 1, addsToStep: false,
            pass: Pass(batch: rows, training: true))
        try loss.softmax(logits: logits, probabilities: probabilities, batch: rows)
        var totals = [Float](repeating: .nan, count: 4)
        try totals.withUnsafeMutableBytes { try loss.readTotals(step: 1, into: $0).wait() }

        let exact = Oracle.softmaxCrossEntropy(
            doubles(scores), rows: rows, classes: classes, labels: labels,
            weights: doubles(weights), scale: 0.25)
        let losses = zip(exact.losses, weights).map { $0 * Double($1) }
        let ranks = (0..<rows).map { row in
            Oracle.rank(of: labels[row], in: doubles(scores)[row * classes..<(row + 1) * classes])
        }
        func hits(_ best: Int) -> [Float] { zip(ranks, weights).map { $0 < best ? $1 : 0 } }
        let results = try loss.readRows(rows)
        guard results.map(\.top1) == hits(1), results.map(\.top5) == hits(5),
            totals[1...] == [hits(1), hits(5), weights].map({ $0.reduce(0, +) })[...]
        else { return .infinity }
        return [
            relativeError(unpadded(try gradient.read(padded.count)), exact.gradient),
            relativeError(unpadded(try probabilities.read(padded.count)), exact.probabilities),
            relativeError(results.map(\.loss), losses),
            relativeError([totals[0]], [losses.reduce(0, +)]),
        ].reduce(0, max)
    }

    /// Two labels for each row, weights of classes, and smoothing.
    private static func softTargets(_ device: Device) throws -> Double {
        let (rows, classes) = (5, 147)
        let columns = classes.roundedUp(to: 16)
        var numbers = Numbers(13)
        let scores = numbers.floats(rows * classes, in: -2...2)
        let labels = [5, 146, 0, 77, 5]
        let shares: [Float] = [0.125, 1, 0.5, 0.75, 0.25]
        let rule = LossRule(smoothing: 0.125, classWeights: numbers.floats(classes, in: 0.5...2))
        let loss = try SoftmaxCrossEntropy(device: device, classes: classes, maximumBatch: rows, rule: rule)
        let gradient = try unwritten(device, rows * columns)
        try loss.forwardBackward(
            logits: Buffer(
                device,
                (0..<rows * columns).map {
                    $0 % columns < classes ? scores[$0 / columns * classes + $0 % columns] : 1e30
                }), labels: Buffer(device, labels.map { Int32($0) }),
            weights: Buffer(device, [Float](repeating: 1, count: rows)),
            shares: Buffer(device, shares), gradient: gradient, scale: 0.2, step: 0, addsToStep: false,
            pass: Pass(batch: rows, training: true))
        let pairs = labels.indices.map { (labels[$0], labels[rows - 1 - $0]) }
        let exact = Oracle.crossEntropy(
            doubles(scores),
            targets: Oracle.targets(
                pairs, shares: doubles(shares), classWeights: rule.classWeights.map(doubles),
                smoothing: 0.125, classes: classes), classes: classes, scale: 0.2)
        let plain = Oracle.crossEntropy(
            doubles(scores), targets: Oracle.targets(pairs, shares: doubles(shares), classes: classes),
            classes: classes, scale: 1)
        let values: [Float] = try gradient.read(rows * columns)
        return max(
            relativeError(
                values.indices.filter { $0 % columns < classes }.map { values[$0] }, exact.gradient),
            relativeError(try loss.readRows(rows).map(\.loss), plain.losses))
    }

    private static func mixing(_ device: Device) throws -> Double {
        let (rows, pixels) = (5, 131)
        var numbers = Numbers(14)
        let values = numbers.floats(rows * pixels * 4)
        let shares: [Float] = [0.125, 1, 0.5, 0.75, 0.25]
        let images = try Buffer(device, values)
        try Mixup(alpha: 1, seed: 1, device: device).mix(
            images, shares: Buffer(device, shares), pixels: pixels, pass: Pass(batch: rows, training: true))
        let exact = values.indices.map { place in
            let (row, rest) = (place / (pixels * 4), place % (pixels * 4))
            let share = Double(shares[row])
            return share * Double(values[place]) + (1 - share)
                * Double(values[(rows - 1 - row) * pixels * 4 + rest])
        }
        return relativeError(try images.read(values.count), exact)
    }

    /// A step of the average, and the exchange of both.
    private static func averaging(_ device: Device) throws -> Double {
        var numbers = Numbers(15)
        let (average, weights) = (numbers.floats(1001), numbers.floats(1001))
        let (first, second) = (try Buffer(device, average), try Buffer(device, weights))
        let range = KernelFamilies.optimizer.values(average.count, tuning: device.tuning)
        try device.kernel("optimizer", "average_weights").launch(
            range, first, second, UInt64(average.count), Float(0.125), Buffer(device, [Float(1)]))
        try device.kernel("optimizer", "swap_values").launch(range, first, second, UInt64(average.count))
        let exact = zip(average, weights).map { Double($0) + 0.125 * (Double($1) - Double($0)) }
        return try max(
            relativeError(second.read(average.count), exact), differences(first.read(average.count), weights))
    }

    /// Counts the elements that dropout keeps or drops against the generator's numbers.
    private static func dropout(_ device: Device) throws -> Double {
        let (batch, index) = (7, 11)
        let rate = 0.25
        let plan = LayerPlan(
            DropoutSpec(rate: rate), input: FeatureShape(height: 1, width: 1, channels: 52), index: index,
            device: device.description, tuning: device.tuning)
        let pass = Pass(batch: batch, training: true, seed: 0x1_0000_0005, step: 0x3_0000_0009)
        let values = (1...batch * plan.input.storedCount).map { Float($0) }
        let buffer = try Buffer(device, values)
        try plan.makeLayer(on: device).forward(input: buffer, output: buffer, pass: pass)
        let key = Philox.key(seed: pass.seed, purpose: .dropout)
        let exact = values.enumerated().map { element, value in
            let counter = SIMD4(
                UInt32(element / 4), UInt32(index), UInt32(truncatingIfNeeded: pass.step),
                UInt32(truncatingIfNeeded: pass.step >> 32))
            let isKept = Double(Philox.block(counter: counter, key: key)[element % 4]) >= rate * 0x1p32
            return isKept ? value * Float(1 / (1 - rate)) : 0
        }
        return differences(try buffer.read(values.count), exact)
    }

    /// Three steps of momentum and decay: the gradients are longer than the limit, shorter, and longer.
    private static func update(_ device: Device, _ method: UpdateRule.Method) throws -> Double {
        let limit = 20.0
        // One parameter longer than a part of the norm's sum, and one shorter.
        let parameters = try NetworkPlan(
            Architecture(parsing: "linear"), imageSize: 20, classes: 19,
            options: .init(maximumBatch: 1, training: true), device: device.description, tuning: device.tuning
        ).parameters
        let optimizer = try Optimizer(
            parameters, UpdateRule(method, weightDecay: 0.25, clipNorm: Float(limit)), device: device)
        let loss = try SoftmaxCrossEntropy(device: device, classes: 2, maximumBatch: 1)
        let gradients = try ParameterArena(parameters, device: device)
        var numbers = Numbers(4)
        let start = parameters.map { numbers.floats($0.count) }
        let weights = try zip(parameters, start).map { try Buffer(device, $0.stored($1)) }
        var exact = start.map(doubles)
        var moments = start.map {
            [[Double]](repeating: .init(repeating: 0, count: $0.count), count: method.momentCount)
        }
        for (step, size) in [Float(1), 0.1, 30].enumerated() {
            let values = parameters.map { numbers.floats($0.count, in: -size...size) }
            for (parameter, values) in zip(parameters, values) {
                try gradients[parameter].write(parameter.stored(values))
            }
            try loss.forwardBackward(
                logits: Buffer(device, [Float](repeating: 0, count: 16)), labels: Buffer(device, [Int32(1)]),
                weights: Buffer(device, [Float(1)]), gradient: unwritten(device, 16), scale: 1, step: step,
                addsToStep: false, pass: Pass(batch: 1, training: true))
            try optimizer.beginStep(step, loss: loss, gradients: gradients)
            let norm = values.joined().reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
            for (index, parameter) in parameters.enumerated() {
                try optimizer.update(
                    parameter, weights: weights[index], gradient: gradients[parameter], learningRate: 0.1)
                Oracle.update(
                    weights: &exact[index], moments: &moments[index],
                    gradient: doubles(values[index]).map { $0 * min(1, limit / norm) }, number: step + 1,
                    learningRate: 0.1, momentum: 0.9, weightDecay: parameter.decays ? 0.25 : 0)
            }
        }
        return try parameters.enumerated().map { index, parameter in
            relativeError(parameter.exported(try weights[index].read(parameter.storedCount)), exact[index])
        }.reduce(0, max)
    }

    private static func addition(_ device: Device) throws -> Double {
        var numbers = Numbers(5)
        let (a, b) = (numbers.floats(1001), numbers.floats(1001))
        let sum = try Buffer(device, a)
        try device.kernel("optimizer", "gradient_add").launch(
            KernelFamilies.optimizer.values(a.count, tuning: device.tuning),
            sum, Buffer(device, b), UInt64(a.count))
        return differences(try sum.read(a.count), zip(a, b).map { $0 + $1 })
    }

    // MARK: - Input

    private static let normalization = Normalization(
        mean: [0.48, 0.45, 0.41], deviation: [0.23, 0.22, 0.26])
    private static var mean: [Double] { doubles(normalization.mean) }
    private static var deviation: [Double] { doubles(normalization.deviation) }

    /// Returns a picture of slopes and noise of 40 levels.
    private static func picture(height: Int, width: Int, seed: UInt64) -> [UInt8] {
        var random = Philox(seed: seed, purpose: .benchmark)
        return (0..<height * width * 3).map { index in
            UInt8(
                20 + 150 * (index / 3 % width) / width + random.integer(below: 40)
                    + 40 * (index / 3 / width) / height)
        }
    }

    /// Returns bytes with what kernels may read behind them.
    private static func bytes(_ device: Device, _ values: [UInt8]) throws -> Buffer {
        try Buffer(device, values + [UInt8](repeating: 255, count: ImageInput.bytesReadBehind))
    }

    /// Returns the largest distance between pixels as stored, whose fourth channel is 0, and the exact ones.
    private static func distance(_ values: [Float], _ exact: [Double]) -> Double {
        values.enumerated().map { place, value in
            let distance = abs(Double(value) - (place % 4 == 3 ? 0 : exact[place / 4 * 3 + place % 4]))
            return distance.isFinite ? distance : .infinity
        }.reduce(0, max)
    }

    /// Plain crops that reach over the edge, and every kind of augmentation at once.
    private static func augmentation(_ device: Device) throws -> Double {
        let (height, width, size) = (53, 61, 37)
        let image = picture(height: height, width: width, seed: 6)
        var all = [(-3, -2, false), (30, 20, true)].map { x, y, mirror in
            AugmentationParameters(x: Int32(x), y: Int32(y), mirror: mirror)
        }
        for text in ["paper", "paper,literal"] {
            let augmentation = try Augmentation(parsing: text).with(probability: 0.7)
            all += (0..<4).map {
                AugmentationParameters.draw(
                    augmentation, width: width, height: height, size: size, seed: 3, epoch: 1, sample: $0)
            }
        }
        let records = all.map {
            CropRecord($0, byteOffset: 0, width: Int32(width), height: Int32(height), size: size)
        }
        let output = try unwritten(device, all.count * size * size * 4)
        try ImageInput(device: device, size: size, normalization: normalization).load(
            bytes: bytes(device, image), records: Buffer(device, records), output: output,
            pass: Pass(batch: all.count, training: true))
        let exact = all.flatMap {
            Oracle.input(image, height: height, width: width, size: size, $0, normalization)
        }
        return distance(try output.read(all.count * size * size * 4), exact)
    }

    private static func denseInput(_ device: Device) throws -> Double {
        let (height, width) = (13, 71)
        let images = (7...8).map { picture(height: height, width: width, seed: $0) }
        let input = try DenseInput(device: device, normalization: normalization)
        return try [false, true].map { isMirrored in
            let output = try unwritten(device, 2 * height * width * 4)
            try input.load(
                bytes: bytes(device, images[0] + images[1]),
                offsets: Buffer(device, [0, UInt64(images[0].count)]), first: 0, count: 2, height: height,
                width: width, isMirrored: isMirrored, output: output)
            let exact = images.flatMap {
                Oracle.cropMirrorNormalize(
                    $0, height: height, width: width, top: 0, left: 0, cropHeight: height, cropWidth: width,
                    mirror: isMirrored, mean: mean, deviation: deviation)
            }
            return distance(try output.read(2 * height * width * 4), exact)
        }.reduce(0, max)
    }

    // MARK: - Arithmetic

    private static func arithmetic(_ device: Device) throws -> Double {
        let vector = device.tuning[KernelFamilies.peak.vector]
        let sums = device.tuning[KernelFamilies.peak.sums]
        let range = KernelFamilies.peak.launch(computeUnits: 1, tuning: device.tuning)
        let result = try unwritten(device, range.count * vector)
        try device.kernel("peak", "multiply_add").launch(range, result, 1, Float(1))
        // Sum j of work-item i begins with i + j, and gets 1.
        let exact = (0..<range.count * vector).map { place in
            Float((0..<sums).reduce(0) { $0 + place / vector + $1 + 1 })
        }
        return differences(try result.read(range.count * vector), exact)
    }

    /// Counts the values that are written or added wrongly.
    private static func memoryAccess(_ device: Device) throws -> Double {
        let count = 1 << 16
        let (range, vectors) = KernelFamilies.peak.memory(count: count, tuning: device.tuning)
        let written = try unwritten(device, count)
        try device.kernel("peak", "write_values").launch(range, written, Float(0.5), vectors)
        // A work-item's sum is exact: it stays below 2²⁴.
        let values = (0..<count).map { Float($0 % 256) }
        let sums = try unwritten(device, range.count)
        try device.kernel("peak", "read_values").launch(range, try Buffer(device, values), sums, vectors)
        let total = try sums.read(range.count).reduce(0) { $0 + Double($1 as Float) }
        return try differences(written.read(count), [Float](repeating: 0.5, count: count))
            + (total == values.reduce(0) { $0 + Double($1) } ? 0 : 1)
    }
}
