@testable import DeviceInput
import Benchmarks
import Compute
import NeuralNet
import Oracle
import Randomness
import TestSupport
import Testing

extension OnDevices {
    /// The kernel on every visible device, against the oracle.
    @Suite struct AugmentationKernelTests {
        private static let normalization = Normalization(
            mean: [0.48, 0.45, 0.41], deviation: [0.23, 0.22, 0.26])
        /// Smooth plus noise of 40 levels.
        ///
        /// A place is off by at most 2^-16 of a pixel here (coordinates below 128 in single precision), so a
        /// value of 0…255 by 0.004 and the normalised one by 7e-5; the largest values, ±2.5, add ten
        /// roundings of 2e-7.
        private static let tolerance = 1e-4

        private struct Image {
            let width: Int, height: Int
            let bytes: [UInt8]

            init(width: Int, height: Int, seed: UInt64 = 1) {
                var random = Philox(seed: seed, purpose: .benchmark)
                (self.width, self.height) = (width, height)
                bytes = (0..<height * width * 3).map { index in
                    UInt8(
                        20 + 150 * (index / 3 % width) / width + random.integer(below: 40) + 40
                            * (index / 3 / width) / height)
                }
            }
        }

        private func run(
            _ image: Image, _ records: [CropRecord], size: Int, on device: Device, cache: [Buffer] = []
        ) throws -> [Float] {
            // Bytes in front and behind that must not be read as pixels.
            let bytes = try Buffer(
                device,
                [UInt8](repeating: 255, count: 16) + image.bytes
                    + [UInt8](repeating: 255, count: ImageInput.bytesReadBehind))
            let output = try Buffer(device, floatCount: records.count * size * size * 4)
            let input = try ImageInput(device: device, size: size, normalization: Self.normalization)
            try input.load(
                bytes: bytes, cache: cache, records: Buffer(device, records), output: output,
                pass: Pass(batch: records.count, training: true))
            return try output.read(records.count * size * size * 4)
        }

        private func record(_ image: Image, _ parameters: AugmentationParameters, size: Int) -> CropRecord {
            CropRecord(
                parameters, byteOffset: 16, width: Int32(image.width), height: Int32(image.height), size: size
            )
        }

        private func compare(_ image: Image, _ all: [AugmentationParameters], size: Int) throws {
            for description in testDevices {
                let device = try Device(description)
                let values = try run(image, all.map { record(image, $0, size: size) }, size: size, on: device)
                for (index, parameters) in all.enumerated() {
                    let wanted = Oracle.input(
                        image.bytes, height: image.height, width: image.width,
                        size: size, parameters, Self.normalization)
                    var worst = 0.0
                    for pixel in 0..<size * size {
                        for c in 0..<3 {
                            worst = max(
                                worst,
                                abs(
                                    Double(values[4 * (index * size * size + pixel) + c])
                                        - wanted[3 * pixel + c]))
                        }
                        #expect(values[4 * (index * size * size + pixel) + 3] == 0)
                    }
                    #expect(
                        worst < Self.tolerance,
                        "\(parameters.summary) of \(image.width) × \(image.height): off by \(worst)")
                }
            }
        }

        /// Each kind by itself, at the ends of its range and beyond.
        @Test func eachKindAlone() throws {
            let image = Image(width: 61, height: 53)
            let changes: [(inout AugmentationParameters) -> Void] = [
                { $0.mirror = true }, { $0.cast = SIMD3(20, 0, -20) }, { $0.cast = SIMD3(-255, 255, 7) },
                { ($0.vignetteStart, $0[.vignette]) = (0.2, 0.8) },
                { ($0.vignetteStart, $0[.vignette]) = (0.8, 0.02) },
                { ($0.vignetteStart, $0[.vignette]) = (0, 1) }, { $0[.barrel] = 0.26 }, { $0[.barrel] = 1 },
                { $0[.pincushion] = 0.13 }, { $0[.pincushion] = 0.15 }, { $0[.horizontalStretch] = 0.325 },
                { $0[.verticalStretch] = 0.325 }, { $0[.rotation] = 10 }, { $0[.rotation] = -10 },
                { $0[.rotation] = 45 }, { $0[.rotation] = 180 }, { $0[.rotation] = -90 },
            ]
            for size in [37, 41] {
                try compare(
                    image,
                    changes.flatMap { change in
                        [SIMD2<Int32>(7, 5), SIMD2(0, 12), SIMD2(24, 0)].map { corner in
                            var parameters = AugmentationParameters(x: corner.x, y: corner.y)
                            change(&parameters)
                            return parameters
                        }
                    }, size: size)
            }
        }

        /// What training draws: all kinds together, crops that reach into the padding and images smaller than
        /// the crop included.
        @Test(arguments: [(61, 53, 37), (32, 32, 32), (33, 47, 33), (90, 7, 21), (1, 1, 9), (5, 64, 63)])
        func togetherAsDrawn(width: Int, height: Int, size: Int) throws {
            for text in ["paper", "paper,literal", "standard", "paper,rotation=180@1,barrel=1@1"] {
                let augmentation = try Augmentation(parsing: text).with(probability: 0.7)
                let all = (0..<24).map {
                    AugmentationParameters.draw(
                        augmentation, width: width, height: height, size: size, seed: 3, epoch: 1, sample: $0)
                }
                try compare(Image(width: width, height: height), all, size: size)
            }
        }

        /// The gather with identity parameters gives the plain crop bit for bit, mirrored too.
        @Test func identityIsThePlainCrop() throws {
            let image = Image(width: 71, height: 67)
            let size = 45
            let crops = [SIMD2<Int32>(0, 0), SIMD2(26, 22), SIMD2(13, 7)].flatMap { corner in
                [false, true].map { AugmentationParameters(x: corner.x, y: corner.y, mirror: $0) }
            }
            for description in testDevices {
                let device = try Device(description)
                let plain = crops.map { record(image, $0, size: size) }
                let gathered = zip(plain, crops).map { record, parameters in
                    var record = record
                    record.apply(parameters, size: size)
                    return record
                }
                #expect(plain.allSatisfy { $0.effects == 0 } && gathered.allSatisfy { $0.effects == 1 })
                let one = try run(image, plain, size: size, on: device)
                let other = try run(image, gathered, size: size, on: device)
                #expect(one.map(\.bitPattern) == other.map(\.bitPattern), "\(description.name)")
            }
        }

        /// A quarter turn moves pixels and blends none.
        @Test func halfTurnReversesThePixels() throws {
            let image = Image(width: 20, height: 20)
            var turned = AugmentationParameters(x: 0, y: 0)
            turned[.rotation] = 180
            for description in testDevices {
                let records = [AugmentationParameters(x: 0, y: 0), turned].map { record(image, $0, size: 20) }
                let values = try run(image, records, size: 20, on: Device(description))
                let (plain, half) = (values[..<1600], values[1600...])
                let reversed = stride(from: 1596, through: 0, by: -4).flatMap { plain[$0..<$0 + 4] }
                #expect(Array(half) == reversed)
            }
        }

        @Test func recordsHaveTheKernelsLayout() {
            #expect(MemoryLayout<CropRecord>.size == 96 && MemoryLayout<CropRecord>.stride == 96)
            #expect(
                MemoryLayout<CropRecord>.offset(of: \.source) == 28
                    && MemoryLayout<CropRecord>.offset(of: \.xx) == 52)
            #expect(MemoryLayout<CropRecord>.offset(of: \.castBlue) == 92)
        }
    }
}
