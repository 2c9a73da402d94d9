/// Describes a rectangle of a picture's pixels, which is not empty.
public struct PixelBox: Sendable, Equatable {
    public var columns: Range<Int>
    public var rows: Range<Int>

    public init(columns: Range<Int>, rows: Range<Int>) {
        self.columns = columns
        self.rows = rows
    }

    /// Makes the box of a complete picture.
    public init(width: Int, height: Int) { self.init(columns: 0..<width, rows: 0..<height) }
}

/// Returns the pixels of a resized picture that will be read; the others may hold anything.
public typealias PixelNeed = (_ width: Int, _ height: Int) -> PixelBox
