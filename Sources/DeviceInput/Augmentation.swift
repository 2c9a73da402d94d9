import Photographs

/// How training images are varied: a preset, and what differs from it.
///
/// As text: a preset, then changes behind commas, such as `paper,rotation=15,cast=30@0.25,mirror=@0,literal`.
/// `KIND=RANGE@PROBABILITY` changes both numbers of a kind, either may be left out, a range of 0 turns it
/// off; `vignette-start=LOW:HIGH` is where vignettes begin, `crop=central` or `crop=random` where crops lie.
public struct Augmentation: Sendable, Equatable {
    /// One way to vary an image (table 1 of the paper). All are drawn independently of one another.
    public enum Kind: String, Sendable, CaseIterable {
        /// An integer up to the range, in levels of 0…255, is added to or taken from each of some channels.
        case cast
        /// Light is lost towards the corners: up to this share of it.
        case vignette
        /// The lens coefficient: barrel shows more of the photograph at the rim, pincushion less.
        case barrel, pincushion
        /// Made longer by up to this share.
        case horizontalStretch = "horizontal-stretch"
        case verticalStretch = "vertical-stretch"
        /// Turned by whole degrees up to the range, either way.
        case rotation
        /// Mirrored left and right; it has no range.
        case mirror

        /// Values are whole multiples of this.
        public var step: Double {
            switch self {
            case .cast, .rotation, .mirror: 1
            case .vignette: 0.02
            case .barrel: 0.004
            case .pincushion: 0.002
            case .horizontalStretch, .verticalStretch: 0.005
            }
        }

        /// The largest range that makes sense. Beyond a sixth a pincushion folds the corners over.
        public var limit: Double {
            switch self {
            case .cast: 255
            case .vignette, .barrel, .horizontalStretch, .verticalStretch: 1
            case .pincushion: 0.15
            case .rotation: 180
            case .mirror: 1
            }
        }
    }

    /// How often a kind is applied, and how much of it.
    public struct Effect: Sendable, Equatable {
        /// 0…1, for each image of each epoch.
        public var probability: Double
        /// The largest value, in the kind's unit.
        public var range: Double
    }

    /// What the text begins with.
    public enum Preset: String, Sendable, CaseIterable {
        /// The central crop.
        case none
        /// A random crop, and its mirror image half the time.
        case standard
        /// Everything that the paper describes.
        case paper
    }

    public private(set) var preset: Preset
    private var effects: [Kind: Effect]
    /// Where vignettes begin: 0 in the centre, 1 in the corners.
    public private(set) var vignetteStart: ClosedRange<Double> = 0.2...0.8
    /// Whether the crop's place is drawn; else it is central.
    public private(set) var cropsAtRandom: Bool
    /// Whether effects read pixels of the crop alone, as the paper's words say; else they read those around
    /// it where there are some.
    public var isLiteral = false

    /// `vignetteStart` is a whole multiple of this.
    public static let vignetteStartStep = 0.0125

    public static let none = Augmentation(.none)
    public static let standard = Augmentation(.standard)
    public static let paper = Augmentation(.paper)

    public init(_ preset: Preset) {
        self.preset = preset
        cropsAtRandom = preset != .none
        effects = [.mirror: Effect(probability: preset == .none ? 0 : 0.5, range: 1)]
        // The paper has the numbers of values and the two ranges of 20 and 10; sizes of the others and all
        // probabilities are ours.
        let paper: [Kind: Effect] = [
            .cast: Effect(probability: 0.5, range: 20), .vignette: Effect(probability: 0.25, range: 0.8),
            .barrel: Effect(probability: 0.2, range: 0.26),
            .pincushion: Effect(probability: 0.2, range: 0.13),
            .horizontalStretch: Effect(probability: 0.2, range: 0.325),
            .verticalStretch: Effect(probability: 0.2, range: 0.325),
            .rotation: Effect(probability: 0.5, range: 10),
        ]
        for (kind, effect) in paper {
            effects[kind] = preset == .paper ? effect : Effect(probability: effect.probability, range: 0)
        }
    }

    /// Probability and range of a kind.
    public private(set) subscript(kind: Kind) -> Effect {
        get { effects[kind] ?? Effect(probability: 0, range: 0) }
        set { effects[kind] = newValue }
    }

    /// Sets every kind's probability.
    public func with(probability: Double) -> Augmentation {
        var changed = self
        for kind in Kind.allCases { changed[kind].probability = probability }
        return changed
    }

    /// The ranges times `strength` (not below 0), none beyond its kind's limit; crops, mirroring and
    /// probabilities stay.
    public func scaled(by strength: Double) -> Augmentation {
        var scaled = self
        for kind in Kind.allCases where kind != .mirror {
            scaled[kind].range = min(kind.limit, self[kind].range * strength)
        }
        return scaled
    }

    /// How many positive values a kind can take: whole steps up to its range.
    public func steps(_ kind: Kind) -> Int { Int((self[kind].range / kind.step + 1e-6).rounded(.down)) }

    /// How many places a vignette can begin at.
    var vignetteStarts: Int {
        Int(
            ((vignetteStart.upperBound - vignetteStart.lowerBound) / Self.vignetteStartStep + 1e-6).rounded(
                .down)) + 1
    }

    // MARK: - Text

    /// Reads a preset and its changes.
    /// - Throws: `DatasetError.badOption` that names the part it does not understand.
    public init(parsing text: String) throws(DatasetError) {
        let items = text.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
        guard let preset = Preset(rawValue: items[0]) else {
            throw Self.mistake(
                text,
                "expected \(Self.names(Preset.allCases.map(\.rawValue))), and changes to it behind commas")
        }
        self.init(preset)
        for item in items.dropFirst() { try change(item, in: text) }
    }

    private mutating func change(_ item: String, in text: String) throws(DatasetError) {
        let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map {
            String($0)
        }
        switch (parts[0], parts.count > 1 ? parts[1] : nil) {
        case ("literal", nil): isLiteral = true
        case ("crop", "random"): cropsAtRandom = true
        case ("crop", "central"): cropsAtRandom = false
        case ("crop", _): throw Self.mistake(text, "\(item): expected crop=random or crop=central")
        case ("vignette-start", let value?):
            let bounds = value.split(separator: ":", omittingEmptySubsequences: false).map { Double($0) }
            guard bounds.count == 2, let low = bounds[0], let high = bounds[1], 0 <= low, low <= high,
                high < 1
            else {
                throw Self.mistake(
                    text,
                    "\(item): expected LOW:HIGH, parts of the way from the centre (0) to the corners, below 1"
                )
            }
            vignetteStart = low...high
        case (let name, let value?):
            guard let kind = Kind(rawValue: name) else { throw Self.unknown(item, in: text) }
            let numbers = value.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map {
                String($0)
            }
            if !numbers[0].isEmpty {
                guard kind != .mirror, let range = Double(numbers[0]), (0...kind.limit).contains(range) else {
                    throw Self.mistake(
                        text,
                        kind == .mirror
                            ? "\(item): expected mirror=@PROBABILITY"
                            : "\(item): expected a range from 0 to \(kind.limit)")
                }
                self[kind].range = range
            }
            if numbers.count > 1 {
                guard let probability = Double(numbers[1]), (0...1).contains(probability) else {
                    throw Self.mistake(text, "\(item): expected a probability from 0 to 1 behind @")
                }
                self[kind].probability = probability
            }
        default: throw Self.unknown(item, in: text)
        }
    }

    private static func unknown(_ item: String, in text: String) -> DatasetError {
        mistake(
            text,
            "\(item): expected literal, crop=…, vignette-start=… or KIND=RANGE@PROBABILITY with a kind of "
                + names(Kind.allCases.map(\.rawValue)))
    }

    private static func mistake(_ text: String, _ problem: String) -> DatasetError {
        DatasetError(.badOption, "--augment \(text): \(problem)")
    }

    private static func names(_ names: [String]) -> String {
        names.dropLast().joined(separator: ", ") + " or " + (names.last ?? "")
    }
}

/// The text, which reads back to the same value.
extension Augmentation: RawRepresentable, CaseIterable {
    /// The presets; what else there is differs from one of them.
    public static var allCases: [Augmentation] { Preset.allCases.map { Augmentation($0) } }

    public init?(rawValue: String) {
        guard let read = try? Augmentation(parsing: rawValue) else { return nil }
        self = read
    }

    public var rawValue: String {
        let base = Augmentation(preset)
        var items = [preset.rawValue]
        for kind in Kind.allCases where self[kind] != base[kind] {
            let range = self[kind].range == base[kind].range ? "" : Self.text(self[kind].range)
            items.append(
                "\(kind.rawValue)=\(range)"
                    + (self[kind].probability == base[kind].probability
                        ? "" : "@\(Self.text(self[kind].probability))"))
        }
        if vignetteStart != base.vignetteStart {
            items.append(
                "vignette-start=\(Self.text(vignetteStart.lowerBound)):\(Self.text(vignetteStart.upperBound))"
            )
        }
        if cropsAtRandom != base.cropsAtRandom {
            items.append("crop=\(cropsAtRandom ? "random" : "central")")
        }
        if isLiteral { items.append("literal") }
        return items.joined(separator: ",")
    }

    private static func text(_ number: Double) -> String {
        number == number.rounded() && abs(number) < 1e6 ? String(Int(number)) : String(number)
    }
}
