import Basics
import Compute
import NeuralNet
import Oracle
import TestSupport
import Testing

extension OnDevices {
    @Suite struct MatrixProductTests {
        struct Size: CustomTestStringConvertible {
            let m, n, k: Int
            var testDescription: String { "\(m)×\(n)×\(k)" }
        }

        /// A single element; sizes that no tile divides; several items by rows and by panels; a depth of more
        /// than one block.
        static let sizes = [
            Size(m: 1, n: 16, k: 1), Size(m: 7, n: 48, k: 13), Size(m: 403, n: 80, k: 5),
            Size(m: 3, n: 336, k: 37), Size(m: 13, n: 112, k: 1061),
        ]

        /// Every option, A as it is and transposed, B and C in panels and row by row with gaps between the
        /// rows.
        ///
        /// GPU bodies read A four floats at a time, so its rows are multiples of 4 there.
        @Test(arguments: testDevices, sizes) func everyLayoutAndOption(
            description: DeviceDescription, size: Size
        ) throws {
            let device = try open(description)
            let product = try MatrixProduct(device: device)
            let unit = device.tuning.device.body == .gpu ? 4 : 1
            let (m, n, k) = (size.m.roundedUp(to: unit), size.n, size.k.roundedUp(to: unit))
            var numbers = TestNumbers(m * 1000 + k)
            let a = numbers.floats(m * k), b = numbers.floats(k * n), bias = numbers.floats(n),
                before = numbers.floats(m * n)
            let exact = Oracle.gemm(a.doubles, b.doubles, rows: m, columns: n, depth: k)
            let biasBuffer = try Buffer(device, bias)
            for transposed in [false, true] {
                let gap = unit == 1 ? 3 : unit
                let rowLength = (transposed ? m : k) + gap
                let aBuffer = try Buffer(
                    device,
                    rows(
                        transposed ? transpose(a, rows: m, columns: k) : a, columns: rowLength - gap, gap: gap
                    ))
                for bInPanels in [false, true] {
                    let bBuffer = try Buffer(
                        device, bInPanels ? panels(b, rows: k, columns: n) : rows(b, columns: n, gap: 16))
                    for cInPanels in [false, true] {
                        for bits in 0..<8 {
                            let options = MatrixProduct.Options(rawValue: bits)
                            let start =
                                options.contains(.accumulate)
                                ? before : [Float](repeating: .nan, count: m * n)
                            let c = try Guarded(
                                device,
                                cInPanels
                                    ? panels(start, rows: m, columns: n) : rows(start, columns: n, gap: 16))
                            try product.multiply(
                                .init(aBuffer, columns: rowLength, isTransposed: transposed),
                                bInPanels ? .panels(bBuffer, rows: k) : .rowMajor(bBuffer, columns: n + 16),
                                into: cInPanels
                                    ? .panels(c.buffer, rows: m) : .rowMajor(c.buffer, columns: n + 16),
                                bias: options.contains(.bias) ? biasBuffer : nil,
                                size: .init(m: m, n: n, k: k), options: options)
                            let values = try c.values()
                            let result =
                                cInPanels
                                ? unpanels(values, rows: m, columns: n)
                                : columns(0..<n, of: values, rowLength: n + 16)
                            let expected = exact.indices.map { index in
                                var value = exact[index]
                                if options.contains(.accumulate) { value += Double(before[index]) }
                                if options.contains(.bias) { value += Double(bias[index % n]) }
                                return options.contains(.relu) ? max(0, value) : value
                            }
                            let error = relativeError(result, expected)
                            #expect(
                                error < Tolerance.sum,
                                "transposed \(transposed), panels \(bInPanels) \(cInPanels), options \(bits)")
                            if !cInPanels {
                                #expect(
                                    columns(n..<n + 16, of: values, rowLength: n + 16).allSatisfy {
                                        $0 == 777
                                    })
                            }
                        }
                    }
                }
            }
        }

        /// Shapes of the tile, and stores past the cache, change no bit.
        @Test(arguments: testDevices.filter { $0.traits.body == .cpu }) func tilesAndStoresKeepTheBits(
            description: DeviceDescription
        ) throws {
            let (m, n, k) = (13, 112, 70)
            var numbers = TestNumbers(7)
            let (a, b) = (numbers.floats(m * k), numbers.floats(k * n))
            func bits(_ changes: [String: Int], transposed: Bool) throws -> [UInt32] {
                let device = try Device(description)
                try device.tuning.set(changes)
                let c = try Buffer(device, [Float](repeating: .nan, count: m * n))
                try MatrixProduct(device: device).multiply(
                    .init(Buffer(device, a), columns: transposed ? m : k, isTransposed: transposed),
                    .rowMajor(Buffer(device, b), columns: n), into: .panels(c, rows: m),
                    size: .init(m: m, n: n, k: k))
                return try c.read(m * n)
            }
            for transposed in [false, true] {
                let expected = try bits([:], transposed: transposed)
                for changes in [
                    ["gemm.streamed-bytes": 0], ["gemm.rows": 5, "gemm.panels": 2],
                    ["gemm.rows-per-item": 7, "gemm.items": 1, "gemm.panels-per-item": 2],
                ] {
                    #expect(try bits(changes, transposed: transposed) == expected, "\(changes)")
                }
            }
        }

        /// Packing a transposed matrix changes no bit, and stays within the scratch memory stated.
        @Test(arguments: testDevices.filter { $0.traits.body == .cpu }) func packingKeepsTheBits(
            description: DeviceDescription
        ) throws {
            let (m, n, k) = (203, 112, 21)
            var numbers = TestNumbers(8)
            let (a, b) = (numbers.floats(k * m), numbers.floats(k * n))
            func bits(_ changes: [String: Int]) throws -> [UInt32] {
                let device = try Device(description)
                try device.tuning.set(changes)
                let size = MatrixProduct.Size(m: m, n: n, k: k)
                let floats = MatrixProduct.scratch(transposed: size, tuning: device.tuning)
                let scratch = (
                    a: try Guarded(device, count: floats.a), b: try Guarded(device, count: floats.b)
                )
                let c = try Guarded(device, count: m * n)
                try MatrixProduct(device: device).multiply(
                    transposed: Buffer(device, a), byRows: Buffer(device, b), intoPanels: c.buffer,
                    size: size, scratch: (scratch.a.buffer, scratch.b.buffer))
                _ = (try scratch.a.values(), try scratch.b.values())
                return try c.values().map { $0.bitPattern }
            }
            let unpacked = try bits(["gemm.packed-panels": 1000])
            for changes in [
                ["gemm.packed-panels": 1], ["gemm.rows-per-item": 7, "gemm.items": 1], ["gemm.rows": 5],
            ] {
                #expect(try bits(changes) == unpacked, "\(changes)")
            }
        }

        @Test(arguments: testDevices.filter { $0.traits.body == .cpu }) func packing(
            description: DeviceDescription
        ) throws {
            let device = try open(description)
            let product = try MatrixProduct(device: device)
            for (k, n) in [(1, 1), (3, 16), (67, 35), (130, 48), (200, 7)] {
                let b = (0..<k * n).map { Float($0 + 1) }
                let columns = (n + 15) / 16 * 16
                let padded = FeatureShape(height: 1, width: 1, channels: n).stored(b)
                let packed = try Guarded(device, count: k * columns)
                try product.pack(Buffer(device, b), into: packed.buffer, k: k, n: n)
                #expect(
                    try packed.values() == panels(padded, rows: k, columns: columns), "\(k)×\(n)")
            }
        }

        @Test(arguments: testDevices.filter { $0.traits.body == .cpu }, [8, 16]) func packingOfTransposed(
            description: DeviceDescription, width: Int
        ) throws {
            let device = try open(description)
            let product = try MatrixProduct(device: device)
            for (k, n) in [(1, 1), (3, 16), (67, 35), (130, 48), (200, 7)] {
                let transposed = (0..<k * n).map { Float($0 + 1) }
                let panels = (n + width - 1) / width
                let expected: [Float] = (0..<panels * k * width).map { place in
                    let column = place / (k * width) * width + place % width
                    return column < n ? transposed[column * k + place / width % k] : 0
                }
                let packed = try Guarded(device, count: expected.count)
                try product.packTransposed(
                    Buffer(device, transposed), into: packed.buffer, k: k, n: n, width: width)
                #expect(try packed.values() == expected, "\(k)×\(n)")
            }
        }

        // MARK: - Layouts, written out once more

        private func transpose(_ values: [Float], rows: Int, columns: Int) -> [Float] {
            (0..<rows * columns).map { values[$0 % rows * columns + $0 / rows] }
        }

        private func panels(_ values: [Float], rows: Int, columns: Int) -> [Float] {
            (0..<rows * columns).map { place in
                let (panel, row) = (place / (16 * rows), place / 16 % rows)
                return values[row * columns + 16 * panel + place % 16]
            }
        }

        private func unpanels(_ values: [Float], rows: Int, columns: Int) -> [Float] {
            (0..<rows * columns).map { place in
                let (row, column) = (place / columns, place % columns)
                return values[(column / 16 * rows + row) * 16 + column % 16]
            }
        }

        /// Rows with `gap` floats of 777 after each.
        private func rows(_ values: [Float], columns: Int, gap: Int) -> [Float] {
            stride(from: 0, to: values.count, by: columns).flatMap {
                values[$0..<$0 + columns] + [Float](repeating: 777, count: gap)
            }
        }

        /// The columns `range` of every row.
        private func columns(_ range: Range<Int>, of values: [Float], rowLength: Int) -> [Float] {
            stride(from: 0, to: values.count, by: rowLength).flatMap {
                values[$0 + range.lowerBound..<$0 + range.upperBound]
            }
        }
    }
}
