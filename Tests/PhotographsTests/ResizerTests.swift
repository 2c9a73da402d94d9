import TestSupport
import Testing

@testable import Photographs

/// Computes the definition in double precision.
///
/// Every output pixel is the weighted mean over a triangle as wide as its step in the source.
private func reference(_ picture: DecodedImage, _ newWidth: Int, _ newHeight: Int) -> [Double] {
    func weights(_ from: Int, _ to: Int, _ position: Int) -> [Double] {
        let scale = Double(from) / Double(to)
        let support = max(1, scale)
        let centre = (Double(position) + 0.5) * scale
        let raw = (0..<from).map { max(0, 1 - abs(Double($0) + 0.5 - centre) / support) }
        let sum = raw.reduce(0, +)
        return raw.map { $0 / sum }
    }
    var output: [Double] = []
    for y in 0..<newHeight {
        let down = weights(picture.height, newHeight, y)
        for x in 0..<newWidth {
            let across = weights(picture.width, newWidth, x)
            for channel in 0..<3 {
                var sum = 0.0
                for (row, rowWeight) in down.enumerated() where rowWeight > 0 {
                    for (column, weight) in across.enumerated() where weight > 0 {
                        sum +=
                            rowWeight * weight
                            * Double(picture.pixels[3 * (row * picture.width + column) + channel])
                    }
                }
                output.append(sum)
            }
        }
    }
    return output
}

@Suite struct ResizerTests {
    @Test(arguments: [
        (13, 7, 7), (13, 7, 5), (64, 48, 17), (48, 64, 17), (33, 33, 32), (20, 31, 64), (5, 5, 11), (1, 1, 4),
        (3, 40, 2), (100, 101, 1),
    ]) func matchesTheDefinition(width: Int, height: Int, shortSide: Int) {
        let picture = noisePicture(width: width, height: height)
        let resized = picture.resized(shortSide: shortSide)
        let expected = reference(picture, resized.width, resized.height)
        // Rounding to bytes is 0.5; float sums of at most some hundred products of 255 add less than 0.001.
        let worst = zip(resized.pixels, expected).map { abs(Double($0) - $1) }.max() ?? 1
        #expect(min(resized.width, resized.height) == shortSide)
        #expect(worst < 0.501, "largest difference \(worst)")
    }

    @Test func sizes() {
        #expect(Resizer.size(width: 500, height: 375, shortSide: 256) == (341, 256))
        #expect(Resizer.size(width: 375, height: 500, shortSide: 256) == (256, 341))
        #expect(Resizer.size(width: 32, height: 32, shortSide: 72) == (72, 72))
        #expect(Resizer.size(width: 3, height: 2, shortSide: 1) == (1, 1))
    }

    /// The sizes that torchvision's Resize(256) gives; each long side but the last has a remainder.
    @Test func sizesOfTorchvision() {
        for (width, height, long) in [
            (400, 279, 367), (279, 400, 367), (500, 335, 382), (366, 257, 364), (1001, 750, 341),
            (4000, 3000, 341), (512, 256, 512),
        ] {
            let size = Resizer.size(width: width, height: height, shortSide: 256)
            #expect(size == (width < height ? (256, long) : (long, 256)), "\(width) x \(height)")
        }
    }

    @Test func equalSizeKeepsTheBytes() {
        let picture = noisePicture(width: 20, height: 31)
        #expect(picture.resized(shortSide: 20) == picture)
    }

    @Test func flatStaysFlat() {
        let flat = DecodedImage(width: 77, height: 50, pixels: Array(repeating: 255, count: 3 * 77 * 50))
        for side in [1, 13, 49, 51, 120] {
            #expect(flat.resized(shortSide: side).pixels.allSatisfy { $0 == 255 })
        }
    }

    /// One instance serves pictures of any sizes, one after another.
    @Test func keptTablesDoNotLeak() {
        let resizer = Resizer()
        for (width, height, side) in [(40, 30, 12), (30, 40, 12), (90, 30, 25), (40, 30, 12)] {
            let picture = noisePicture(width: width, height: height, seed: UInt64(width))
            #expect(picture.resized(shortSide: side, by: resizer) == picture.resized(shortSide: side))
        }
    }
}
