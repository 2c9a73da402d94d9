/// Describes one number that a kernel or its launch is tuned with.
///
/// It changes speed and the order of additions, never a result's meaning. The initial value follows from the
/// kind of device, not from the number of cores or a measurement, so a device always adds in the same order.
/// There are two exceptions, for constants that change no bits of any result: measured values
/// (`TuningStore`), and thresholds that are the size of the device's cache.
public struct TuningConstant: Sendable {
    /// Represents the values that kernel and launch can work with.
    public enum LegalValues: Sendable, CustomStringConvertible {
        case values([Int])
        case range(ClosedRange<Int>, multipleOf: Int = 1)

        func contains(_ value: Int) -> Bool {
            switch self {
            case .values(let list): list.contains(value)
            case .range(let range, let unit): range.contains(value) && value % unit == 0
            }
        }

        public var description: String {
            switch self {
            case .values(let list): list.map(String.init).joined(separator: ", ")
            case .range(let range, 1): "\(range.lowerBound) to \(range.upperBound)"
            case .range(let range, let unit):
                "multiples of \(unit) from \(range.lowerBound) to \(range.upperBound)"
            }
        }
    }

    /// The name that saved runs keep, such as `gemm.depth-block`: the family's name, a point, a word.
    public let key: String
    /// The macro that the compiler gets, such as `DEPTH_BLOCK`; nil for a constant that only launches use.
    public private(set) var macro: String?
    public let legal: LegalValues
    /// The values that a tuner should try; none where only the default makes sense.
    public let candidates: [Int]
    /// The only body that has the constant; nil if both do.
    let body: KernelBody?
    /// Whether another value changes the order of a sum, so that a saved run must keep it.
    public let changesBits: Bool
    private let value: Int
    private let wideValue: Int
    private let gpuValue: Int
    private let vendorValues: [DeviceVendor: Int]
    /// Whether the value is the size of the device's cache, if that is known.
    private var isCacheSize = false

    /// Describes a constant that the compiler gets as a macro.
    ///
    /// - Parameters:
    ///   - key: the family's name, a point, and the macro's name in small letters with hyphens
    ///   - value: the initial value
    ///   - wide: that of devices with registers of 16 floats, if it differs
    ///   - gpu: that of GPU bodies, if it differs
    ///   - vendors: that of GPU bodies on GPUs of some vendors, if it differs
    ///   - body: the only body that has the constant
    ///   - keepsBits: whether every value gives the same bits
    init(
        _ key: String, _ value: Int, wide: Int? = nil, gpu: Int? = nil, vendors: [DeviceVendor: Int] = [:],
        body: KernelBody? = nil, _ legal: LegalValues, candidates: [Int] = [], keepsBits: Bool = false
    ) {
        self.key = key
        self.value = value
        self.legal = legal
        self.candidates = candidates
        self.body = body
        changesBits = !keepsBits
        vendorValues = vendors
        wideValue = wide ?? value
        gpuValue = gpu ?? value
        macro = key.drop { $0 != "." }.dropFirst().uppercased().replacing("-", with: "_")
    }

    /// Describes a constant that only launches use.
    init(
        launch key: String, _ value: Int, wide: Int? = nil, gpu: Int? = nil,
        vendors: [DeviceVendor: Int] = [:], body: KernelBody? = nil, _ legal: LegalValues,
        candidates: [Int] = [], keepsBits: Bool = false
    ) {
        self.init(
            key, value, wide: wide, gpu: gpu, vendors: vendors, body: body, legal,
            candidates: candidates, keepsBits: keepsBits)
        macro = nil
    }

    /// Describes a threshold that is the size of a CPU's last-level cache in bytes, and changes no bits.
    ///
    /// `value` is for devices that report none, or only a core's: less than 4 MiB.
    init(cacheSize key: String, otherwise value: Int) {
        self.init(launch: key, value, body: .cpu, .range(0...(1 << 40)), keepsBits: true)
        isCacheSize = true
    }

    func initialValue(_ device: DeviceTraits) -> Int {
        if isCacheSize, device.cacheSize >= 4 << 20 { return min(device.cacheSize, 1 << 40) }
        return device.body == .gpu
            ? vendorValues[device.vendor] ?? gpuValue : device.hasWideVectors ? wideValue : value
    }
}

/// Holds the value of every family's constants for one device.
public struct Tuning: Sendable, Equatable {
    /// The device that the values are for.
    ///
    /// Geometry that depends on a family's body asks for it here.
    public let device: DeviceTraits
    /// The values under their stable keys.
    public private(set) var values: [String: Int]

    /// Takes each constant's initial value for a device.
    public init(for device: DeviceTraits) {
        self.device = device
        let constants = KernelFamilies.all.flatMap(\.constants).filter {
            [nil, device.body].contains($0.body)
        }
        values = Dictionary(uniqueKeysWithValues: constants.map { ($0.key, $0.initialValue(device)) })
    }

    /// Takes the values that are stored for a device, and the initial values of all other constants.
    public init(for device: DeviceDescription) {
        self.init(for: device, stored: TuningStore(device))
    }

    init(for device: DeviceDescription, stored: TuningStore) {
        self.init(for: device.traits)
        // Other devices have nothing stored.
        guard !racedConstants.isEmpty else { return }
        // `load` has checked the values.
        try? set(stored.load())
    }

    /// The constants that `trainer tune` may change: those of GPU bodies that change no bits.
    public var racedConstants: [TuningConstant] {
        guard sharesGroups else { return [] }
        return KernelFamilies.all.flatMap(\.constants).filter {
            !$0.changesBits && values[$0.key] != nil && $0.candidates.count > 1
        }
    }

    /// The values that results depend on to the last bit, under their stable keys.
    public var valuesThatChangeBits: [String: Int] { values.filter { Tuning.changesBits($0.key) } }

    /// Returns whether results depend on a constant to the last bit; an unknown one is taken to be such.
    public static func changesBits(_ key: String) -> Bool { !keysThatKeepBits.contains(key) }

    private static let keysThatKeepBits = Set(
        KernelFamilies.all.flatMap(\.constants).filter { !$0.changesBits }.map(\.key) + retiredKeys)

    /// Constants of earlier kernels that older checkpoints hold.
    ///
    /// They changed no bits.
    private static let retiredKeys = [
        "gemm.few-rows", "gemm.few-panels", "gemm.few-rows-limit",
        "gemm.few-panels-per-item", "gemm.few-items",
    ]

    /// Whether the bodies for GPUs run, whose work-groups share local memory; else work-items run alone.
    public var sharesGroups: Bool { device.body == .gpu }

    /// Returns the work-items of a group: `count` where groups share their work, else 1.
    func groupItems(_ count: Int) -> Int { sharesGroups ? count : 1 }

    public subscript(constant: TuningConstant) -> Int {
        guard let value = values[constant.key] else {
            preconditionFailure("the \(device.body) body has no constant \(constant.key)")
        }
        return value
    }

    /// Changes values by their keys, all or none.
    ///
    /// - Throws: `ComputeError` naming the constant, the value and the legal values.
    public mutating func set(_ changes: [String: Int]) throws {
        var changed = self
        for (key, value) in changes.sorted(by: { $0.key < $1.key }) {
            guard changed.values[key] != nil,
                let constant = KernelFamilies.all.flatMap(\.constants).first(where: { $0.key == key })
            else {
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
        let pairs = family.constants.compactMap { constant in
            values[constant.key].flatMap { value in constant.macro.map { ($0, value) } }
        }
        return Dictionary(uniqueKeysWithValues: pairs)
    }

    /// Returns the `values` that differ from `others`, as `gemm.rows=6, …` in the order of their keys.
    public static func text(_ values: [String: Int], unlike others: [String: Int] = [:]) -> String {
        values.filter { others[$0.key] != $0.value }.sorted { $0.key < $1.key }
            .map { "\($0.key)=\($0.value)" }.joined(separator: ", ")
    }
}
