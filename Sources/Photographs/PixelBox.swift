/// A rectangle of a picture's pixels; not empty.
public struct PixelBox: Sendable, Equatable {
    public var columns: Range<Int>
    public var rows: Range<Int>

    public init(columns: Range<Int>, rows: Range<Int>) {
        self.columns = columns
        self.rows = rows
    }

    /// All of a picture.
    public init(width: Int, height: Int) { self.init(columns: 0..<width, rows: 0..<height) }
}

/// Says which pixels of a resized picture will be read, from its width and height; the others may hold
/// anything.
public typealias PixelNeed = (_ width: Int, _ height: Int) -> PixelBox
