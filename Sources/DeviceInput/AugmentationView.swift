import Compute
import Photographs
import NeuralNet
import Foundation

/// Shows what augmentation does to an image, with the kernel that training uses.
public final class AugmentationView {
    private let device: Device
    private let input: ImageInput
    private let size: Int

    /// - Parameter size: side of the crops in pixels.
    public init(device: Device, size: Int) throws {
        self.device = device
        self.size = size
        // Then the network's input is 0…255 again.
        input = try ImageInput(
            device: device, size: size,
            normalization: Normalization(mean: [0, 0, 0], deviation: [1 / 255, 1 / 255, 1 / 255]))
    }

    /// The crops that each of `parameters` makes of the image; outside a plain crop's image is black.
    public func render(_ image: DecodedImage, _ parameters: [AugmentationParameters]) throws -> [DecodedImage]
    {
        let records = parameters.map {
            CropRecord($0, byteOffset: 0, width: Int32(image.width), height: Int32(image.height), size: size)
        }
        let area = size * size
        let output = try Buffer(device, floatCount: area * 4)
        let bytes = try Buffer(device, image.pixels + [0, 0, 0, 0, 0])
        return try records.map { record in
            try input.load(
                bytes: bytes, records: Buffer(device, [record]), output: output,
                pass: Pass(batch: 1, training: false))
            let values: [Float] = try output.read(area * 4)
            let pixels = (0..<area * 3).map { UInt8(min(max(values[$0 / 3 * 4 + $0 % 3], 0), 255).rounded()) }
            return DecodedImage(width: size, height: size, pixels: pixels)
        }
    }

    /// The sixteen panels of the paper's figure 5, in its order, each at the end of its kind's range (half of
    /// it where there is a "more").
    public func figure(_ image: DecodedImage, _ augmentation: Augmentation) throws -> DecodedImage {
        let levels = Int32(augmentation.steps(.cast))
        func value(_ kind: Augmentation.Kind, _ share: Double = 1) -> Double {
            (Double(augmentation.steps(kind)) * share).rounded() * kind.step
        }
        func vignette(_ parameters: inout AugmentationParameters, _ share: Double) {
            parameters.vignetteStart = augmentation.vignetteStart.lowerBound
            parameters.vignetteStrength = value(.vignette, share)
        }
        let panels: [(String, (inout AugmentationParameters) -> Void)] = [
            ("original", { _ in }), ("red casting", { $0.cast.x = levels }),
            ("green casting", { $0.cast.y = levels }), ("blue casting", { $0.cast.z = levels }),
            ("RGB all changed", { $0.cast = SIMD3(levels, -levels, levels / 2) }),
            ("vignette", { vignette(&$0, 0.5) }), ("more vignette", { vignette(&$0, 1) }),
            (
                "blue casting + vignette",
                {
                    $0.cast.z = levels
                    vignette(&$0, 1)
                }
            ), ("left rotation, crop", { $0.rotation = -value(.rotation) }),
            ("right rotation, crop", { $0.rotation = value(.rotation) }),
            ("pincushion", { $0.lens = -value(.pincushion) }), ("barrel", { $0.lens = value(.barrel) }),
            ("horizontal stretch", { $0.horizontalStretch += value(.horizontalStretch, 0.5) }),
            ("more hor. stretch", { $0.horizontalStretch += value(.horizontalStretch) }),
            ("vertical stretch", { $0.verticalStretch += value(.verticalStretch, 0.5) }),
            ("more ver. stretch", { $0.verticalStretch += value(.verticalStretch) }),
        ]
        let parameters = panels.map { _, change in
            var parameters = AugmentationParameters.central(
                width: image.width, height: image.height, size: size)
            parameters.isLiteral = augmentation.isLiteral
            change(&parameters)
            return parameters
        }
        let pictures = try render(image, parameters)
        return ContactSheet.draw(
            Array(zip(pictures, panels.map(\.0))).map { (image: $0, caption: $1) }, columns: 4)
    }

    /// What training would see of the image in `count` draws.
    public func random(
        _ image: DecodedImage, _ augmentation: Augmentation, count: Int, seed: UInt64, epoch: Int
    ) throws -> DecodedImage {
        let all = (0..<count).map {
            AugmentationParameters.draw(
                augmentation, width: image.width, height: image.height,
                size: size, seed: seed, epoch: epoch, sample: $0)
        }
        return ContactSheet.draw(
            zip(try render(image, all), all).map { (image: $0, caption: Self.caption($1)) },
            columns: min(6, max(1, count)))
    }

    /// One sample of one epoch: the crop without effects beside what training sees.
    public func replay(_ image: DecodedImage, _ parameters: AugmentationParameters) throws -> DecodedImage {
        let plain = AugmentationParameters(x: parameters.x, y: parameters.y)
        let pictures = try render(image, [plain, parameters])
        return ContactSheet.draw(
            [(pictures[0], "crop alone"), (pictures[1], Self.caption(parameters))], columns: 2)
    }

    /// A few short lines below a panel.
    private static func caption(_ parameters: AugmentationParameters) -> String {
        var first = ["\(parameters.x),\(parameters.y)"]
        if parameters.mirror { first.append("mirror") }
        if parameters.rotation != 0 { first.append(String(format: "%+.0f°", parameters.rotation)) }
        var second: [String] = []
        if parameters.cast != SIMD3() {
            second.append("cast \(parameters.cast.x),\(parameters.cast.y),\(parameters.cast.z)")
        }
        if parameters.vignetteStrength > 0 {
            second.append(String(format: "vig %.2f", parameters.vignetteStrength))
        }
        var third: [String] = []
        if parameters.lens != 0 { third.append(String(format: "lens %+.3f", parameters.lens)) }
        if parameters.horizontalStretch > 1 {
            third.append(String(format: "h%.3f", parameters.horizontalStretch))
        }
        if parameters.verticalStretch > 1 {
            third.append(String(format: "v%.3f", parameters.verticalStretch))
        }
        return [first, second, third].map { $0.joined(separator: " ") }.joined(separator: "\n")
    }
}
