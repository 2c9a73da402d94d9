import DeviceInput
import NeuralNet
import Oracle

extension Oracle {
    /// Returns a photograph as a network should see it: [size][size][3].
    ///
    /// - Parameter image: [height][width][3].
    public static func input(
        _ image: [UInt8], height: Int, width: Int, size: Int, _ parameters: AugmentationParameters,
        _ normalization: Normalization
    ) -> [Double] {
        let mean = normalization.mean.map { Double($0) }
        let deviation = normalization.deviation.map { Double($0) }
        guard !parameters.isPlain else {
            return cropMirrorNormalize(
                image, height: height, width: width, top: Int(parameters.y), left: Int(parameters.x),
                cropHeight: size, cropWidth: size, mirror: parameters.mirror, mean: mean, deviation: deviation
            )
        }
        var change = ImageChange()
        (change.left, change.top, change.mirror) = (Int(parameters.x), Int(parameters.y), parameters.mirror)
        change.cast = (0..<3).map { Double(parameters.cast[$0]) }
        change.vignetteStart = parameters.vignetteStart
        change.isLiteral = parameters.isLiteral
        for kind in Augmentation.Kind.allCases { change.amounts[kind.rawValue] = parameters[kind] }
        return augment(
            image, height: height, width: width, size: size, change, mean: mean, deviation: deviation)
    }
}
