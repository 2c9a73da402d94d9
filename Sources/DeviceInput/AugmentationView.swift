import Compute
import Photographs
import NeuralNet
import Foundation

/// Shows what augmentation does to a photograph, with the kernel that training uses.
public final class AugmentationView {
    private let device: Device
    private let input: ImageInput
    private let size: Int

    /// - Parameter size: the side of the crops in pixels.
    public init(device: Device, size: Int) throws {
        self.device = device
        self.size = size
        // With this normalisation the network's input is 0…255.
        input = try ImageInput(
            device: device, size: size,
            normalization: Normalization(mean: [0, 0, 0], deviation: [1 / 255, 1 / 255, 1 / 255]))
    }

    /// Returns what each of `parameters` makes of the photograph; plain crops are black outside of it.
    public func render(_ image: DecodedImage, _ parameters: [AugmentationParameters]) throws -> [DecodedImage]
    {
        let records = parameters.map {
            CropRecord($0, byteOffset: 0, width: Int32(image.width), height: Int32(image.height), size: size)
        }
        let area = size * size
        let output = try Buffer(device, floatCount: area * 4)
        let bytes = try Buffer(
            device, image.pixels + [UInt8](repeating: 0, count: ImageInput.bytesReadBehind))
        return try records.map { record in
            try input.load(
                bytes: bytes, records: Buffer(device, [record]), output: output,
                pass: Pass(batch: 1, training: false))
            let values: [Float] = try output.read(area * 4)
            let pixels = (0..<area * 3).map { UInt8(min(max(values[$0 / 3 * 4 + $0 % 3], 0), 255).rounded()) }
            return DecodedImage(width: size, height: size, pixels: pixels)
        }
    }

    /// Draws the panels of the paper's figure 5, each at the end of its kind's range or at half of it.
    public func figure(_ image: DecodedImage, _ augmentation: Augmentation) throws -> DecodedImage {
        var captions = ["original"]
        var original = AugmentationParameters.central(width: image.width, height: image.height, size: size)
        original.isLiteral = augmentation.isLiteral
        original.vignetteStart = augmentation.vignetteStart.lowerBound
        var all = [original]
        for kind in Augmentation.Kind.figureOrder {
            for panel in kind.rule.panels {
                captions.append(panel.caption)
                var parameters = original
                if let change = panel.change {
                    change(&parameters, augmentation)
                } else {
                    parameters[kind] = augmentation.amount(kind, share: panel.share)
                }
                all.append(parameters)
            }
        }
        return ContactSheet.draw(
            zip(try render(image, all), captions).map { (image: $0, caption: $1) }, columns: 4)
    }

    /// Draws what training would see of the photograph in `count` draws.
    public func random(
        _ image: DecodedImage, _ augmentation: Augmentation, count: Int, seed: UInt64, epoch: Int
    ) throws -> DecodedImage {
        let all = (0..<count).map {
            AugmentationParameters.draw(
                augmentation, width: image.width, height: image.height,
                size: size, seed: seed, epoch: epoch, sample: $0)
        }
        return ContactSheet.draw(
            zip(try render(image, all), all).map { (image: $0, caption: $1.summary) },
            columns: min(6, max(1, count)))
    }

    /// Draws one photograph in one epoch: the crop without effects beside what training sees.
    public func replay(_ image: DecodedImage, _ parameters: AugmentationParameters) throws -> DecodedImage {
        let plain = AugmentationParameters(x: parameters.x, y: parameters.y)
        let pictures = try render(image, [plain, parameters])
        return ContactSheet.draw([(pictures[0], "crop only"), (pictures[1], parameters.summary)], columns: 2)
    }
}
