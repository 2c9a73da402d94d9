extension Oracle {
    /// Returns a crop of an RGB image, mirrored on request, as (byte / 255 − mean) / deviation per channel.
    ///
    /// - Parameters:
    ///   - image: RGB bytes, [height][width][3].
    ///   - top, left: the crop's corner. Pixels outside the image are 0 after normalisation.
    ///   - mirror: swaps left and right within the crop.
    ///   - mean, deviation: of the three channels, on the scale 0…1.
    /// - Returns: [cropHeight][cropWidth][3].
    public static func cropMirrorNormalize(
        _ image: [UInt8], height: Int, width: Int, top: Int, left: Int, cropHeight: Int, cropWidth: Int,
        mirror: Bool, mean: [Double], deviation: [Double]
    ) -> [Double] {
        precondition(image.count == height * width * 3 && mean.count == 3 && deviation.count == 3)
        var output = [Double](repeating: 0, count: cropHeight * cropWidth * 3)
        for y in 0..<cropHeight {
            for x in 0..<cropWidth {
                let sourceY = top + y
                let sourceX = left + (mirror ? cropWidth - 1 - x : x)
                guard (0..<height).contains(sourceY), (0..<width).contains(sourceX) else { continue }
                for c in 0..<3 {
                    let value = Double(image[(sourceY * width + sourceX) * 3 + c]) / 255
                    output[(y * cropWidth + x) * 3 + c] = (value - mean[c]) / deviation[c]
                }
            }
        }
        return output
    }
}
