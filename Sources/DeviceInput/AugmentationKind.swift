import Foundation
import Randomness

extension Augmentation {
    /// Names the ways to vary a photograph (table 1 of the paper), all drawn independently.
    ///
    /// To add a kind: a case and its rule here, a field of `CropRecord`, the kernel (augment.cl), the oracle
    /// (`Oracle.augment`), and its row in docs/augmentation.md with a test.
    public enum Kind: String, Sendable, CaseIterable {
        case cast, vignette, barrel, pincushion
        case horizontalStretch = "horizontal-stretch"
        case verticalStretch = "vertical-stretch"
        case rotation, mirror

        private func makeRule() -> Rule {
            switch self {
            case .cast:
                // The range is the largest change of a channel, in levels of 0…255.
                Rule(
                    probability: 0.5, range: 20, preset: .paper, step: 1, limit: 255,
                    row: ("colour casting", 68_920),
                    count: {
                        let levels = 2 * $0.steps(.cast) + 1
                        return (levels * levels * levels - 1, "\(levels)³ − 1 triples")
                    },
                    draw: { parameters, draws in
                        let happens = draws.happens(.cast)
                        let levels = draws.augmentation.steps(.cast)
                        for channel in 0..<3 {
                            let isSet = draws.random.integer(below: 2) == 1
                            let level = Int32(draws.random.integer(below: 2 * levels + 1) - levels)
                            if happens && isSet { parameters.cast[channel] = level }
                        }
                    },
                    fill: { record, parameters in
                        record.castRed = Float(parameters.cast.x)
                        record.castGreen = Float(parameters.cast.y)
                        record.castBlue = Float(parameters.cast.z)
                    },
                    summary: { $0.cast == SIMD3() ? nil : "cast (\($0.cast.x), \($0.cast.y), \($0.cast.z))" },
                    panels: [
                        Panel("red casting") { $0.cast.x = Int32($1.steps(.cast)) },
                        Panel("green casting") { $0.cast.y = Int32($1.steps(.cast)) },
                        Panel("blue casting") { $0.cast.z = Int32($1.steps(.cast)) },
                        Panel("RGB all changed") {
                            let levels = Int32($1.steps(.cast))
                            $0.cast = SIMD3(levels, -levels, levels / 2)
                        },
                    ])
            case .vignette:
                // The share of the light that is lost in the corners.
                Rule(
                    probability: 0.25, range: 0.8, preset: .paper, step: 0.02, limit: 1,
                    row: ("vignetting", 1_960),
                    count: {
                        let (starts, strengths) = ($0.vignetteStarts, $0.steps(.vignette))
                        return (starts * strengths, "\(starts) starts × \(strengths) strengths")
                    },
                    draw: { parameters, draws in
                        parameters[.vignette] = draws.amount(.vignette)
                        let start = Double(draws.random.integer(below: draws.augmentation.vignetteStarts))
                        if parameters[.vignette] > 0 {
                            parameters.vignetteStart =
                                draws.augmentation.vignetteStart.lowerBound + start * vignetteStartStep
                        }
                    },
                    fill: { record, parameters in
                        record.vignetteStart = Float(parameters.vignetteStart)
                        record.vignetteSlope = Float(1 / (1 - parameters.vignetteStart))
                        record.vignetteStrength = Float(parameters[.vignette])
                    },
                    summary: {
                        $0[.vignette] == 0
                            ? nil : String(format: "vignette %.2f from %.4f", $0[.vignette], $0.vignetteStart)
                    },
                    panels: [
                        Panel("vignette", share: 0.5), Panel("more vignette"),
                        Panel("blue casting + vignette") {
                            $0.cast.z = Int32($1.steps(.cast))
                            $0[.vignette] = $1.amount(.vignette)
                        },
                    ])
            case .barrel:
                // The lens coefficient: barrel shows more of the photograph at the rim, pincushion less.
                Rule(
                    probability: 0.2, range: 0.26, preset: .paper, step: 0.004, limit: 1,
                    row: Rule.lensDistortion, panels: [Panel("barrel")])
            case .pincushion:
                // Beyond a sixth a pincushion folds the corners over.
                Rule(
                    probability: 0.2, range: 0.13, preset: .paper, step: 0.002, limit: 0.15,
                    row: Rule.lensDistortion, panels: [Panel("pincushion")])
            case .horizontalStretch, .verticalStretch:
                // Made longer by up to this share.
                Rule(
                    probability: 0.2, range: 0.325, preset: .paper, step: 0.005, limit: 1,
                    row: Rule.lensDistortion,
                    panels: self == .horizontalStretch
                        ? [Panel("horizontal stretch", share: 0.5), Panel("more hor. stretch")]
                        : [Panel("vertical stretch", share: 0.5), Panel("more ver. stretch")])
            case .rotation:
                // Turned by whole degrees, either way.
                Rule(
                    probability: 0.5, range: 10, preset: .paper, step: 1, limit: 180, row: ("rotation", 20),
                    count: { (2 * $0.steps(.rotation), "±1…\($0.steps(.rotation))°") },
                    draw: { parameters, draws in
                        let degrees = draws.amount(.rotation)
                        parameters[.rotation] = draws.random.integer(below: 2) == 1 ? degrees : -degrees
                    },
                    summary: { $0[.rotation] == 0 ? nil : String(format: "rotation %+.0f°", $0[.rotation]) },
                    panels: [
                        Panel("left rotation, crop") { $0[.rotation] = -$1.amount(.rotation) },
                        Panel("right rotation, crop"),
                    ])
            case .mirror:
                Rule(
                    probability: 0.5, range: 1, preset: .standard, step: 1, limit: nil, row: ("flipping", 2),
                    count: { $0[.mirror].probability > 0 ? (2, "as it is, mirrored") : (1, "as it is") },
                    draw: { parameters, draws in parameters.mirror = draws.happens(.mirror) },
                    summary: { $0.mirror ? "mirrored" : nil })
            }
        }

        /// What the program knows of this kind.
        var rule: Rule { Self.rules[self] ?? makeRule() }

        private static let rules = Dictionary(uniqueKeysWithValues: allCases.map { ($0, $0.makeRule()) })

        /// The order in which kinds take random numbers: new kinds come last, so that seeds keep their draws.
        static let drawOrder = [mirror] + allCases.filter { $0 != .mirror }

        /// The order of the paper's figure 5, with all other kinds behind.
        static let figureOrder: [Kind] = {
            let figure: [Kind] = [
                .cast, .vignette, .rotation, .pincushion, .barrel, .horizontalStretch, .verticalStretch,
            ]
            return figure + allCases.filter { !figure.contains($0) }
        }()
    }

    /// Describes one kind, by default with one amount: whole steps up to the range.
    struct Rule: Sendable {
        /// How often and how much once the kind is turned on.
        var probability: Double
        var range: Double
        /// The first preset that applies the kind; nil if none does.
        var preset: Preset?
        /// Amounts are whole multiples of this.
        var step: Double
        /// The largest range that makes sense; nil if the kind has no range.
        var limit: Double?
        /// The row of the paper's table 1 that counts the kind, with the paper's number.
        var row: (name: String, paper: Int?)?
        /// Returns how many different photographs the kind makes of one, and how this number comes about.
        var count: (@Sendable (Augmentation) -> (Int, String))?
        /// Draws what happens to one photograph, always with the same number of random words.
        var draw: (@Sendable (inout AugmentationParameters, inout Draws) -> Void)?
        /// Fills the kind's own fields of the kernel's record.
        var fill: (@Sendable (inout CropRecord, AugmentationParameters) -> Void)?
        /// Returns a few words on what happens to a photograph; nil if nothing does.
        var summary: (@Sendable (AugmentationParameters) -> String?)?
        /// The panels of the figure.
        var panels: [Panel] = []

        static let lensDistortion: (name: String, paper: Int?) = ("lens distortion", 260)
    }

    /// Describes a panel of the figure: by default the kind at a share of its range.
    struct Panel: Sendable {
        let caption: String
        var share = 1.0
        var change: (@Sendable (inout AugmentationParameters, Augmentation) -> Void)?

        init(
            _ caption: String, share: Double = 1,
            change: (@Sendable (inout AugmentationParameters, Augmentation) -> Void)? = nil
        ) { (self.caption, self.share, self.change) = (caption, share, change) }
    }

    /// The random numbers of one photograph in one epoch.
    struct Draws {
        var random: Philox
        let augmentation: Augmentation

        /// Draws whether a kind is applied.
        mutating func happens(_ kind: Kind) -> Bool {
            Double(random.uniform()) >= 1 - augmentation[kind].probability
        }

        /// Draws a kind's amount, 0 if it is not applied.
        mutating func amount(_ kind: Kind) -> Double {
            let applies = happens(kind)
            let count = augmentation.steps(kind)
            let step = 1 + random.integer(below: max(1, count))
            return applies && count > 0 ? Double(step) * kind.rule.step : 0
        }
    }
}

/// One row of the paper's table 1: how many different photographs a kind of augmentation makes of one.
public struct AugmentationCount: Sendable, Equatable {
    public let name: String
    /// The paper's number; nil if the paper does not have the kind.
    public let paper: Int?
    public let ours: Int
    /// How our number comes about.
    public let formula: String

    /// Returns the rows of the table, from the configured ranges.
    ///
    /// - Parameters:
    ///   - width, height: of the photograph that crops are taken from.
    ///   - size: the crops' side.
    public static func table(
        _ augmentation: Augmentation, width: Int = 512, height: Int = 512, size: Int = 224
    ) -> [AugmentationCount] {
        var rows: [AugmentationCount] = []
        for kind in Augmentation.Kind.allCases {
            let steps = augmentation.steps(kind)
            let (count, formula) = kind.rule.count?(augmentation) ?? (steps, "\(kind.rawValue) \(steps)")
            let (name, paper) = kind.rule.row ?? (kind.rawValue, nil)
            if let last = rows.last, last.name == name {
                rows[rows.count - 1] = AugmentationCount(
                    name: name, paper: paper, ours: last.ours + count, formula: last.formula + " + " + formula
                )
            } else {
                rows.append(AugmentationCount(name: name, paper: paper, ours: count, formula: formula))
            }
        }
        let offsets =
            augmentation.cropsAtRandom ? [max(1, width - size + 1), max(1, height - size + 1)] : [1, 1]
        return rows + [
            AugmentationCount(
                name: "cropping", paper: 82_944, ours: offsets[0] * offsets[1],
                formula: "\(offsets[0]) × \(offsets[1]) offsets of \(size) in \(width) × \(height)"
                    + (offsets == [289, 289] ? " (the paper counts 288²)" : ""))
        ]
    }
}
