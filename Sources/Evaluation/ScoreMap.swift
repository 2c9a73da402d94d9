import Foundation
import Photographs

/// Holds one class's posterior in each window of a photograph.
public struct ScoreMap: Sendable {
    /// The posteriors, `[height][width]`.
    let values: [Float]
    let height: Int
    let width: Int
    /// Size of a window and distance between windows, in pixels.
    let windowHeight: Double
    let windowWidth: Double
    let stride: Double
    /// Size of the photograph.
    let pixelHeight: Int
    let pixelWidth: Int

    /// Returns the posterior at a place of the photograph, given in parts of its sides.
    ///
    /// Interpolates linearly between the windows' centres; outside them the nearest window's value holds.
    func value(x: Double, y: Double) -> Double {
        let column = min(max((x * Double(pixelWidth) - windowWidth / 2) / stride, 0), Double(width - 1))
        let row = min(max((y * Double(pixelHeight) - windowHeight / 2) / stride, 0), Double(height - 1))
        let (left, top) = (Int(column), Int(row))
        let (right, bottom) = (min(left + 1, width - 1), min(top + 1, height - 1))
        let (u, v) = (column - Double(left), row - Double(top))
        func at(_ y: Int, _ x: Int) -> Double { Double(values[y * width + x]) }
        return (at(top, left) * (1 - u) + at(top, right) * u) * (1 - v)
            + (at(bottom, left) * (1 - u) + at(bottom, right) * u) * v
    }

    /// Returns the mean of several maps of one photograph laid over it, with a colour scale below.
    ///
    /// - Throws: `ImageError` if the file cannot be read.
    public static func overlay(_ maps: [ScoreMap], photograph path: String) throws -> DecodedImage {
        // As sharp as what the models saw, but at least 256 pixels.
        let side = max(maps.map { min($0.pixelWidth, $0.pixelHeight) }.max() ?? 0, 256)
        return withScale(overlay(maps, on: try loadImage(path: path, shortSide: side)))
    }

    /// Height of the colour scale in pixels.
    static let scaleHeight = 24

    /// Returns a picture with a bar below it that shows the colours from 0 to 1.
    static func withScale(_ picture: DecodedImage) -> DecodedImage {
        let (width, height) = (picture.width, picture.height + scaleHeight)
        var pixels = picture.pixels + [UInt8](repeating: 255, count: 3 * width * scaleHeight)
        func set(_ x: Int, _ y: Int, _ colour: [Double]) {
            for channel in 0..<3 {
                pixels[3 * ((picture.height + y) * width + x) + channel] = UInt8(
                    (255 * colour[channel]).rounded())
            }
        }
        let (left, right) = (20, width - 20)
        for x in left..<max(left, right) {
            for y in 6..<scaleHeight - 6 {
                set(x, y, heat(Double(x - left) / Double(max(1, right - left - 1))))
            }
        }
        let digits = [
            [" ## ", "#  #", "#  #", "#  #", "#  #", "#  #", " ## "],
            ["  # ", " ## ", "  # ", "  # ", "  # ", "  # ", " ###"],
        ]
        for (digit, start) in zip(digits, [8, right + 6]) {
            for (y, line) in digit.enumerated() {
                for (x, mark) in line.enumerated() where mark == "#" && start + x < width {
                    set(start + x, 9 + y, [0, 0, 0])
                }
            }
        }
        return DecodedImage(width: width, height: height, pixels: pixels)
    }

    /// Returns a grey copy of the photograph, tinted with `heat` of the mean of several maps.
    static func overlay(_ maps: [ScoreMap], on photograph: DecodedImage) -> DecodedImage {
        var pixels = photograph.pixels
        for y in 0..<photograph.height {
            for x in 0..<photograph.width {
                let place = (
                    x: (Double(x) + 0.5) / Double(photograph.width),
                    y: (Double(y) + 0.5) / Double(photograph.height)
                )
                let score =
                    maps.reduce(0) { $0 + $1.value(x: place.x, y: place.y) } / Double(max(1, maps.count))
                let pixel = 3 * (y * photograph.width + x)
                let grey =
                    0.299 * Double(pixels[pixel]) + 0.587 * Double(pixels[pixel + 1]) + 0.114
                    * Double(pixels[pixel + 2])
                let colour = heat(score)
                for channel in 0..<3 {
                    pixels[pixel + channel] = UInt8(
                        min(max(0.5 * grey + 0.5 * 255 * colour[channel], 0), 255).rounded())
                }
            }
        }
        return DecodedImage(width: photograph.width, height: photograph.height, pixels: pixels)
    }

    /// Returns the colour of a score: dark blue for 0, through green and yellow, to red for 1.
    static func heat(_ score: Double) -> [Double] {
        let stops: [[Double]] = [
            [0.1, 0.1, 0.3], [0.1, 0.4, 0.7], [0.2, 0.75, 0.4], [0.95, 0.85, 0.2], [0.9, 0.15, 0.1],
        ]
        let place = min(max(score.isNaN ? 0 : score, 0), 1) * Double(stops.count - 1)
        let low = min(Int(place), stops.count - 2)
        return (0..<3).map { stops[low][$0] + (stops[low + 1][$0] - stops[low][$0]) * (place - Double(low)) }
    }
}
