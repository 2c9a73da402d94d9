import Compute

/// Runs every kernel of a device against the double-precision oracle, with the bodies for CPUs and for GPUs.
///
/// A check that fails or throws does not end the others. A kernel that no check has launched is a failure
/// too, so that the checks stay complete.
public struct SelfTest {
    /// The result of one check.
    public struct Row: Sendable {
        public let check: String
        public let body: KernelBody
        /// The largest error; nil if the check threw.
        public let error: Double?
        /// The largest error of right kernels.
        public let limit: Double
        /// A speed, or what a failed check threw; empty if there is nothing to add.
        public let note: String

        /// Whether the check passed; an error that is not a number is a failure.
        public var isPassed: Bool { error.map { $0 <= limit } ?? false }
    }

    /// The kernels of one body.
    public struct Coverage: Sendable {
        public let body: KernelBody
        /// As `family: kernel`.
        public internal(set) var launched: [String] = []
        public internal(set) var notLaunched: [String] = []
    }

    /// One comparison, at sizes that no tile divides.
    struct Check: Sendable {
        let name: String
        let limit: Double
        let run: @Sendable (Device) throws -> (error: Double, note: String)

        init(_ name: String, limit: Double, _ run: @escaping @Sendable (Device) throws -> Double) {
            self.name = name
            self.limit = limit
            self.run = { (try run($0), "") }
        }

        init(
            measuring name: String,
            _ run: @escaping @Sendable (Device) throws -> (error: Double, note: String)
        ) {
            self.name = name
            limit = 0
            self.run = run
        }
    }

    static let checks = networkChecks + kernelChecks + copyChecks

    /// The names of all checks, in their order.
    public static var names: [String] { checks.map(\.name) }

    public private(set) var rows: [Row] = []
    public private(set) var coverage: [Coverage] = []

    /// Whether every check passed and every kernel was launched.
    public var isPassed: Bool { rows.allSatisfy(\.isPassed) && coverage.allSatisfy(\.notLaunched.isEmpty) }

    /// Runs all checks.
    ///
    /// - Parameters:
    ///   - checks: nil for all
    ///   - report: called with each result as soon as it is known: a driver may end the process
    init(_ description: DeviceDescription, checks: [Check], report: (Row) -> Void) {
        for body in SelfTest.bodies(of: description) { run(body, checks, description, report) }
    }

    /// Runs all checks.
    ///
    /// - Parameter report: called with each result as soon as it is known: a driver may end the process
    public init(_ description: DeviceDescription, report: (Row) -> Void) {
        self.init(description, checks: SelfTest.checks, report: report)
    }

    /// Returns the bodies that the device can run: its own, and the other within its limits; or the one that
    /// was chosen.
    public static func bodies(of description: DeviceDescription) -> [KernelBody] {
        if let chosen = description.kernels { return [chosen] }
        let own = description.traits.body
        return [own]
            + KernelBody.allCases.filter { $0 != own && ($0 == .cpu || description.takesGroups) }
    }

    private mutating func run(
        _ body: KernelBody, _ checks: [Check], _ description: DeviceDescription, _ report: (Row) -> Void
    ) {
        var description = description
        description.kernels = body
        var device: Device?
        var launched: Set<String> = []
        func add(_ check: String, _ error: Double?, limit: Double, _ note: String) {
            rows.append(Row(check: check, body: body, error: error, limit: limit, note: note))
            report(rows[rows.count - 1])
        }
        for check in checks {
            do {
                let open = try device ?? Device(description, profiling: true)
                device = open
                // Checks may change the tuning.
                let tuning = open.tuning
                defer { open.tuning = tuning }
                let result = try check.run(open)
                launched.formUnion(try open.profile?.collect().map(\.kernel) ?? [])
                add(check.name, result.error, limit: check.limit, result.note)
            } catch {
                add(check.name, nil, limit: check.limit, "\(error)")
                // After some errors a context is of no more use.
                device = nil
            }
        }

        var kernels = Coverage(body: body)
        for family in KernelFamilies.all {
            do {
                let open = try device ?? Device(description, profiling: true)
                device = open
                for name in try open.kernelNames(of: family) {
                    let label = "\(family.name): \(name)"
                    if launched.contains(name) {
                        kernels.launched.append(label)
                    } else {
                        kernels.notLaunched.append(label)
                    }
                }
            } catch {
                add("compiling \(family.name)", nil, limit: 0, "\(error)")
                device = nil
            }
        }
        coverage.append(kernels)
    }
}
