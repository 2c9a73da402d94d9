import Basics

/// Draws pictures of one size side by side, each with a caption below.
public enum ContactSheet {
    /// Draws a sheet of at most `columns` panels side by side.
    ///
    /// - Parameter panels: pictures of the same size with captions; characters other than letters, digits and
    ///   some signs are left out.
    /// - Precondition: there is a panel.
    public static func draw(_ panels: [(image: DecodedImage, caption: String)], columns: Int) -> DecodedImage
    {
        precondition(!panels.isEmpty && columns > 0)
        let (width, height) = (panels[0].image.width, panels[0].image.height)
        // Letters grow with the panels, so that they can be read if the sheet is shown small.
        let scale = max(1, width / 128)
        let lines = panels.map { wrapped($0.caption, characters: (width + scale) / (6 * scale)) }
        let lineHeight = 10 * scale
        let margin = 4 * scale
        let cellWidth = width + margin
        let cellHeight = height + margin + lineHeight * (lines.map(\.count).max() ?? 1)
        let sheetWidth = min(columns, panels.count) * cellWidth + margin
        let sheetHeight = panels.count.ceilDivided(by: columns) * cellHeight + margin
        var pixels = [UInt8](repeating: 255, count: 3 * sheetWidth * sheetHeight)
        for (index, panel) in panels.enumerated() {
            let left = margin + index % columns * cellWidth
            let top = margin + index / columns * cellHeight
            for y in 0..<height {
                let target = 3 * ((top + y) * sheetWidth + left)
                pixels.replaceSubrange(
                    target..<target + 3 * width, with: panel.image.pixels[3 * y * width..<3 * (y + 1) * width]
                )
            }
            for (number, line) in lines[index].enumerated() {
                let baseline = top + height + 2 * scale + number * lineHeight
                write(
                    line.uppercased(), left: left, top: baseline, right: left + width, scale: scale,
                    sheetWidth: sheetWidth, into: &pixels)
            }
        }
        return DecodedImage(width: sheetWidth, height: sheetHeight, pixels: pixels)
    }

    /// Breaks a caption into lines between words.
    private static func wrapped(_ caption: String, characters: Int) -> [String] {
        caption.split(separator: "\n", omittingEmptySubsequences: false).flatMap { line in
            line.split(separator: " ").reduce(into: [""]) { lines, word in
                let last = lines[lines.count - 1]
                if last.isEmpty {
                    lines[lines.count - 1] = String(word)
                } else if last.count + 1 + word.count <= characters {
                    lines[lines.count - 1] = last + " " + word
                } else {
                    lines.append(String(word))
                }
            }
        }
    }

    private static func write(
        _ text: String, left: Int, top: Int, right: Int, scale: Int, sheetWidth: Int,
        into pixels: inout [UInt8]
    ) {
        var x = left
        for character in text where x + 5 * scale <= right {
            for (row, bits) in (glyphs[character] ?? []).enumerated() {
                for column in 0..<5 where bits >> (4 - column) & 1 == 1 {
                    for dot in 0..<scale * scale {
                        let y = top + row * scale + dot / scale
                        let at = 3 * (y * sheetWidth + x + column * scale + dot % scale)
                        for channel in 0..<3 { pixels[at + channel] = 0 }
                    }
                }
            }
            x += 6 * scale
        }
    }

    /// The letters: seven rows of five dots, with the leftmost dot in the highest bit.
    private static let glyphs: [Character: [UInt8]] = [
        "A": [14, 17, 17, 31, 17, 17, 17], "B": [30, 17, 17, 30, 17, 17, 30],
        "C": [14, 17, 16, 16, 16, 17, 14], "D": [30, 17, 17, 17, 17, 17, 30],
        "E": [31, 16, 16, 30, 16, 16, 31], "F": [31, 16, 16, 30, 16, 16, 16],
        "G": [14, 17, 16, 23, 17, 17, 14], "H": [17, 17, 17, 31, 17, 17, 17], "I": [14, 4, 4, 4, 4, 4, 14],
        "J": [7, 2, 2, 2, 2, 18, 12], "K": [17, 18, 20, 24, 20, 18, 17], "L": [16, 16, 16, 16, 16, 16, 31],
        "M": [17, 27, 21, 21, 17, 17, 17], "N": [17, 25, 21, 19, 17, 17, 17],
        "O": [14, 17, 17, 17, 17, 17, 14], "P": [30, 17, 17, 30, 16, 16, 16],
        "Q": [14, 17, 17, 17, 21, 18, 13], "R": [30, 17, 17, 30, 20, 18, 17],
        "S": [15, 16, 16, 14, 1, 1, 30], "T": [31, 4, 4, 4, 4, 4, 4], "U": [17, 17, 17, 17, 17, 17, 14],
        "V": [17, 17, 17, 17, 17, 10, 4], "W": [17, 17, 17, 21, 21, 21, 10],
        "X": [17, 17, 10, 4, 10, 17, 17], "Y": [17, 17, 10, 4, 4, 4, 4], "Z": [31, 1, 2, 4, 8, 16, 31],
        "0": [14, 17, 19, 21, 25, 17, 14], "1": [4, 12, 4, 4, 4, 4, 14], "2": [14, 17, 1, 6, 8, 16, 31],
        "3": [30, 1, 1, 14, 1, 1, 30], "4": [2, 6, 10, 18, 31, 2, 2], "5": [31, 16, 30, 1, 1, 17, 14],
        "6": [6, 8, 16, 30, 17, 17, 14], "7": [31, 1, 2, 4, 8, 8, 8], "8": [14, 17, 17, 14, 17, 17, 14],
        "9": [14, 17, 17, 15, 1, 2, 12], ".": [0, 0, 0, 0, 0, 12, 12], ",": [0, 0, 0, 0, 12, 4, 8],
        "+": [0, 4, 4, 31, 4, 4, 0], "-": [0, 0, 0, 31, 0, 0, 0], "(": [2, 4, 8, 8, 8, 4, 2],
        ")": [8, 4, 2, 2, 2, 4, 8], "%": [24, 25, 2, 4, 8, 19, 3], "/": [0, 1, 2, 4, 8, 16, 0],
        ":": [0, 12, 12, 0, 12, 12, 0], "°": [12, 18, 18, 12, 0, 0, 0],
    ]
}
