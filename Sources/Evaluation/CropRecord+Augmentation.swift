import ImageData
import NeuralNet

extension CropRecord {
    /// The kernel's form of what is done to an image.
    /// - Parameters:
    ///   - byteOffset: of the image, in the buffer that `source` names (0: the mini-batch's bytes, n: slab n − 1 of the cache).
    ///   - size: side of the crop in pixels.
    public init(
        _ parameters: AugmentationParameters, byteOffset: UInt64, width: Int32, height: Int32, source: Int32 = 0, size: Int
    ) {
        self.init(byteOffset: byteOffset, width: width, height: height, x: parameters.x, y: parameters.y, mirror: parameters.mirror)
        self.source = source
        if !parameters.isPlain { apply(parameters, size: size) }
    }

    /// Fills the fields of the effects.
    public mutating func apply(_ parameters: AugmentationParameters, size: Int) {
        effects = 1
        (left, top, right, bottom) = (0, 0, width, height)
        if parameters.isLiteral {
            // A crop that lies outside altogether keeps the pixel next to it.
            left = min(max(x, 0), width - 1)
            top = min(max(y, 0), height - 1)
            right = max(left + 1, min(width, x + Int32(size)))
            bottom = max(top + 1, min(height, y + Int32(size)))
        }
        let matrix = parameters.outputToCrop
        (xx, xy, yx, yy) = (Float(matrix[0]), Float(matrix[1]), Float(matrix[2]), Float(matrix[3]))
        let half = Double(size) / 2
        lens = Float(parameters.lens / (half * half))
        vignetteStart = Float(parameters.vignetteStart)
        vignetteSlope = Float(1 / (1 - parameters.vignetteStart))
        vignetteStrength = Float(parameters.vignetteStrength)
        (castRed, castGreen, castBlue) = (Float(parameters.cast.x), Float(parameters.cast.y), Float(parameters.cast.z))
    }
}
