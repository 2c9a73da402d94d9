/// How many different images each kind of augmentation makes of one (table 1 of the paper), from the
/// configured ranges.
public struct AugmentationCounts: Sendable, Equatable {
    public let name: String
    /// The paper's number.
    public let paper: Int
    public let ours: Int
    /// How ours comes about.
    public let formula: String

    /// The rows of the table.
    /// - Parameters:
    ///   - width, height: of the image that crops are taken from; `size` their side.
    public static func table(
        _ augmentation: Augmentation, width: Int = 512, height: Int = 512, size: Int = 224
    ) -> [AugmentationCounts] {
        let levels = 2 * augmentation.steps(.cast) + 1
        let starts = augmentation.vignetteStarts
        let strengths = augmentation.steps(.vignette)
        let lens = [Augmentation.Kind.barrel, .pincushion, .horizontalStretch, .verticalStretch].map {
            augmentation.steps($0)
        }
        let degrees = augmentation.steps(.rotation)
        let mirrors = augmentation[.mirror].probability > 0 ? 2 : 1
        let offsets =
            augmentation.cropsAtRandom ? [max(1, width - size + 1), max(1, height - size + 1)] : [1, 1]
        return [
            .init(
                name: "colour casting", paper: 68_920, ours: levels * levels * levels - 1,
                formula: "\(levels)³ − 1 triples"),
            .init(
                name: "vignetting", paper: 1_960, ours: starts * strengths,
                formula: "\(starts) starts × \(strengths) strengths"),
            .init(
                name: "lens distortion", paper: 260, ours: lens.reduce(0, +),
                formula: "barrel \(lens[0]) + pincushion \(lens[1]) + stretches \(lens[2]) + \(lens[3])"),
            .init(name: "rotation", paper: 20, ours: 2 * degrees, formula: "±1…\(degrees)°"),
            .init(
                name: "flipping", paper: 2, ours: mirrors,
                formula: mirrors == 2 ? "as it is, mirrored" : "as it is"),
            .init(
                name: "cropping", paper: 82_944, ours: offsets[0] * offsets[1],
                formula: "\(offsets[0]) × \(offsets[1]) offsets of \(size) in \(width) × \(height)"
                    + ((offsets[0], offsets[1]) == (289, 289) ? " (the paper counts 288²)" : "")),
        ]
    }
}
