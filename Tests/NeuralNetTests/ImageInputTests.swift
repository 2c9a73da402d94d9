@testable import DeviceInput
import Compute
import Oracle
import TestSupport
import Testing

@testable import NeuralNet

extension OnDevices {
    @Suite struct ImageInputTests {
        /// Photographs of several sizes in one buffer; crops inside, over every edge and wholly outside;
        /// mirrored or not; the second part of a mini-batch.
        @Test(arguments: testDevices) func cropsMirrorsAndNormalises(description: DeviceDescription) throws {
            let device = try open(description)
            let size = 6
            let sizes: [(height: Int, width: Int)] = [(9, 7), (6, 6), (3, 11), (1, 1)]
            let corners: [(x: Int, y: Int)] = [(1, 2), (0, 0), (-2, -1), (4, 5), (-6, 0), (20, -30)]
            var numbers = TestNumbers(1)
            let photographs = sizes.map { size in
                numbers.integers(size.height * size.width * 3, below: 256).map { UInt8($0) }
            }
            let offsets = sizes.indices.map { place in 5 + photographs[..<place].reduce(0) { $0 + $1.count } }
            let bytes = [UInt8](repeating: 99, count: 5) + photographs.joined() + [99]
            let mean: [Float] = [0.5, 0.4, 0.25], deviation: [Float] = [0.25, 0.2, 0.3]
            var cases: [(place: Int, corner: (x: Int, y: Int), mirror: Bool)] = []
            for place in sizes.indices {
                for corner in corners { cases += [(place, corner, false), (place, corner, true)] }
            }
            let records = cases.map { place, corner, mirror in
                CropRecord(
                    byteOffset: UInt64(offsets[place]), width: Int32(sizes[place].width),
                    height: Int32(sizes[place].height), x: Int32(corner.x), y: Int32(corner.y), mirror: mirror
                )
            }
            let input = try ImageInput(
                device: device, size: size, normalization: Normalization(mean: mean, deviation: deviation))
            let first = 3
            let batch = cases.count - first
            let output = try Guarded(device, count: batch * size * size * 4)
            try input.load(
                bytes: Buffer(device, bytes), records: Buffer(device, records), output: output.buffer,
                pass: Pass(batch: batch, training: true, firstImage: first))
            let exact = cases[first...].flatMap { place, corner, mirror -> [Double] in
                Oracle.cropMirrorNormalize(
                    photographs[place], height: sizes[place].height, width: sizes[place].width, top: corner.y,
                    left: corner.x, cropHeight: size, cropWidth: size, mirror: mirror, mean: mean.doubles,
                    deviation: deviation.doubles)
            }
            let values = FeatureShape.image(size: size).unstored(try output.values())
            #expect(relativeError(values, exact) < Tolerance.elementwise)
            // Pixels outside are the mean colour, exactly.
            #expect(zip(values, exact).allSatisfy { $1 != 0 || abs($0) < 1e-6 })
            #expect(exact.contains(0) && exact.contains { $0 > 1 })
        }
    }
}
