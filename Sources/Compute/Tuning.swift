/// Describes one number that a kernel or its launch is tuned with. It changes speed and the order of additions,
/// never a result's meaning.
///
/// The value is fixed by what kind of device it is, never by the number of cores or by a race, so a device
/// always adds in the same order.
public struct TuningConstant: Sendable {
    /// The values that kernel and launch can work with.
    public enum LegalValues: Sendable, CustomStringConvertible {
        case values([Int])
        case multiples(of: Int, in: ClosedRange<Int>)

        func contains(_ value: Int) -> Bool {
            switch self {
            case .values(let list): list.contains(value)
            case .multiples(let unit, let range): range.contains(value) && value % unit == 0
            }
        }

        public var description: String {
            switch self {
            case .values(let list): list.map(String.init).joined(separator: ", ")
            case .multiples(1, let range): "\(range.lowerBound) to \(range.upperBound)"
            case .multiples(let unit, let range):
                "multiples of \(unit) from \(range.lowerBound) to \(range.upperBound)"
            }
        }
    }

    /// The name that saved runs keep, such as `gemm.depth-block`: the family's name, a point, a word.
    public let key: String
    /// The macro that the compiler gets, such as `DEPTH_BLOCK`. Nil for a constant that only launches use.
    public let macro: String?
    public let legal: LegalValues
    /// The values that a tuner should try; none where only the default makes sense.
    public let candidates: [Int]
    let initialValue: @Sendable (DeviceTraits) -> Int

    init(
        _ key: String, _ legal: LegalValues, candidates: [Int] = [], isMacro: Bool = true,
        initialValue: @escaping @Sendable (DeviceTraits) -> Int
    ) {
        self.key = key
        self.legal = legal
        self.candidates = candidates
        self.initialValue = initialValue
        macro =
            isMacro
            ? key.split(separator: ".").last.map { $0.uppercased().replacing("-", with: "_") } : nil
    }
}

/// Holds the value of every family's constants for one device.
public struct Tuning: Sendable, Equatable {
    /// The values under their stable keys.
    public private(set) var values: [String: Int]

    /// Takes each constant's initial value for a device.
    public init(for device: DeviceTraits) {
        let constants = KernelFamilies.all.flatMap(\.constants)
        values = Dictionary(uniqueKeysWithValues: constants.map { ($0.key, $0.initialValue(device)) })
    }

    public init(for device: DeviceDescription) { self.init(for: device.traits) }

    public subscript(constant: TuningConstant) -> Int {
        guard let value = values[constant.key] else {
            preconditionFailure("the constant \(constant.key) belongs to no family of KernelFamilies.all")
        }
        return value
    }

    /// Changes values by their keys, all or none.
    ///
    /// - Throws: `ComputeError` naming the constant, the value and the legal values.
    public mutating func set(_ changes: [String: Int]) throws {
        var changed = self
        for (key, value) in changes.sorted(by: { $0.key < $1.key }) {
            guard let constant = KernelFamilies.all.flatMap(\.constants).first(where: { $0.key == key }) else {
                let keys = values.keys.sorted().joined(separator: ", ")
                throw ComputeError("there is no tuning constant \(key); there are \(keys)")
            }
            guard constant.legal.contains(value) else {
                throw ComputeError("tuning constant \(key): \(value) is not legal; legal: \(constant.legal)")
            }
            changed.values[key] = value
        }
        for family in KernelFamilies.all { try family.check(changed) }
        self = changed
    }

    /// Returns the macros of a family's constants.
    func macros(of family: some KernelFamily) -> [String: Int] {
        let pairs = family.constants.compactMap { constant in constant.macro.map { ($0, self[constant]) } }
        return Dictionary(uniqueKeysWithValues: pairs)
    }

    /// Returns those of `values` that `others` has not, as `gemm.rows=6, …` in the order of their keys.
    public static func text(_ values: [String: Int], unlike others: [String: Int] = [:]) -> String {
        values.filter { others[$0.key] != $0.value }.sorted { $0.key < $1.key }
            .map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
    }
}
