import Photographs

/// Says how training photographs are varied: a preset, and the changes to it.
///
/// The text form is a preset and changes, separated by commas, such as
/// `paper,rotation=15,cast=30@0.25,mirror=@0,literal`. `KIND=RANGE@PROBABILITY` changes a kind; either number
/// may be left out, and a range of 0 turns the kind off. `vignette-start=LOW:HIGH` says where vignettes
/// begin, `crop=central` or `crop=random` where crops are taken.
public struct Augmentation: Sendable, Equatable {
    /// Says how often a kind is applied, and how much of it.
    public struct Effect: Sendable, Equatable {
        /// 0…1, for each photograph in each epoch.
        public var probability: Double
        /// The largest value, in the kind's unit.
        public var range: Double
    }

    /// Names what the text begins with, in the order of strength.
    public enum Preset: String, Sendable, CaseIterable, Comparable {
        /// The central crop.
        case none
        /// A random crop, and its mirror image half the time.
        case standard
        /// Everything that the paper describes.
        case paper

        public static func < (left: Preset, right: Preset) -> Bool {
            left != right && (left == .none || right == .paper)
        }
    }

    public private(set) var preset: Preset
    private var effects: [Kind: Effect]
    /// Where vignettes begin, on the way from the centre (0) to the corners (1).
    public private(set) var vignetteStart: ClosedRange<Double> = 0.2...0.8
    /// Whether the crop's offset is drawn; else the crop is central.
    public private(set) var cropsAtRandom: Bool
    /// Whether effects read only pixels of the crop, as the paper says; else they also read those around it.
    public var isLiteral = false

    /// The start of a vignette is the lower bound plus a whole multiple of this.
    public static let vignetteStartStep = 0.0125

    public static let none = Augmentation(.none)
    public static let standard = Augmentation(.standard)
    public static let paper = Augmentation(.paper)

    public init(_ preset: Preset) {
        self.preset = preset
        cropsAtRandom = preset != .none
        // The paper has the numbers of values and the two ranges of 20 and 10; the sizes of the other steps
        // and all probabilities are ours.
        effects = Dictionary(
            uniqueKeysWithValues: Kind.allCases.map { kind in
                let rule = kind.rule
                var effect = Effect(probability: rule.probability, range: rule.range)
                if rule.preset.map({ $0 > preset }) ?? true {
                    if rule.limit == nil { effect.probability = 0 } else { effect.range = 0 }
                }
                return (kind, effect)
            })
    }

    /// Probability and range of a kind.
    public private(set) subscript(kind: Kind) -> Effect {
        get { effects[kind] ?? Effect(probability: 0, range: 0) }
        set { effects[kind] = newValue }
    }

    /// Returns the augmentation with the same probability for every kind.
    public func with(probability: Double) -> Augmentation {
        var changed = self
        for kind in Kind.allCases { changed[kind].probability = probability }
        return changed
    }

    /// Returns the augmentation with all ranges multiplied by `strength`, none beyond its kind's limit.
    ///
    /// Crops, mirroring and probabilities stay the same.
    public func scaled(by strength: Double) -> Augmentation {
        var scaled = self
        for kind in Kind.allCases {
            if let limit = kind.rule.limit { scaled[kind].range = min(limit, self[kind].range * strength) }
        }
        return scaled
    }

    /// Returns how many positive amounts a kind can have: whole steps up to its range.
    func steps(_ kind: Kind) -> Int { Int((self[kind].range / kind.rule.step + 1e-6).rounded(.down)) }

    /// Returns the amount at a share of a kind's range.
    func amount(_ kind: Kind, share: Double = 1) -> Double {
        (Double(steps(kind)) * share).rounded() * kind.rule.step
    }

    /// How many different starts a vignette can have.
    var vignetteStarts: Int {
        Int(
            ((vignetteStart.upperBound - vignetteStart.lowerBound) / Self.vignetteStartStep + 1e-6).rounded(
                .down)) + 1
    }

    // MARK: - Text

    /// Reads a preset and its changes.
    ///
    /// - Throws: `DatasetError.badOption`, which names the part that is wrong.
    public init(parsing text: String) throws {
        let items = text.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
        guard let preset = Preset(rawValue: items[0]) else {
            throw Self.mistake(
                text,
                "expected \(Self.names(Preset.allCases.map(\.rawValue))), and changes to it after commas")
        }
        self.init(preset)
        for item in items.dropFirst() { try change(item, in: text) }
    }

    private mutating func change(_ item: String, in text: String) throws {
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
                    text, "\(item): expected LOW:HIGH, on the way from the centre (0) to the corners, below 1"
                )
            }
            vignetteStart = low...high
        case (let name, let value?):
            guard let kind = Kind(rawValue: name) else { throw Self.unknown(item, in: text) }
            let numbers = value.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map {
                String($0)
            }
            if !numbers[0].isEmpty {
                guard let limit = kind.rule.limit else {
                    throw Self.mistake(text, "\(item): expected \(name)=@PROBABILITY")
                }
                guard let range = Double(numbers[0]), (0...limit).contains(range) else {
                    throw Self.mistake(text, "\(item): expected a range from 0 to \(limit)")
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
        DatasetError(.badOption, "augmentation “\(text)”: \(problem)")
    }

    private static func names(_ names: [String]) -> String {
        names.dropLast().joined(separator: ", ") + " or " + (names.last ?? "")
    }
}

/// Converts to and from text.
extension Augmentation: RawRepresentable, CaseIterable {
    /// The presets; every other value changes one of them.
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
