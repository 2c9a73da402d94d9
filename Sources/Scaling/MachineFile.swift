import Basics
import Configuration
import Foundation

extension Machine {
    /// A number that describes a machine: its name in files, its unit and its legal values.
    public struct Property: Sendable {
        public let name: String
        let unit: String
        fileprivate let range: ClosedRange<Double>
        fileprivate let isWhole: Bool
        fileprivate let initial: Double?
        public let value: @Sendable (Machine) -> Double
        fileprivate let set: @Sendable (inout Machine, Double) -> Void

        /// - Parameters:
        ///   - initial: the value if a file leaves it out; nil if it must not
        fileprivate init(
            _ name: String, _ unit: String, _ range: ClosedRange<Double>, initial: Double? = nil,
            isWhole: Bool = false, value: @escaping @Sendable (Machine) -> Double,
            set: @escaping @Sendable (inout Machine, Double) -> Void
        ) {
            self.name = name
            self.unit = unit
            self.range = range
            self.initial = initial
            self.isWhole = isWhole
            self.value = value
            self.set = set
        }

        fileprivate var expected: String {
            let text = isWhole ? "a whole number" : "a number"
            return "expected \(text) from \(range.lowerBound.short) to \(range.upperBound.short), in \(unit)"
        }

        fileprivate func read(_ text: String) -> Double? {
            guard let value = Double(text), range.contains(value), !isWhole || value == value.rounded() else {
                return nil
            }
            return value
        }
    }

    /// All numbers of a machine, in the order of files and tables.
    public static let properties: [Property] = [
        .init("devices-per-node", "devices", 1...1024, initial: 1, isWhole: true) {
            Double($0.devicesPerNode)
        } set: {
            $0.devicesPerNode = Int($1)
        },
        .init("gflops", "10⁹ operations per second of a device", 0.001...1e9) {
            $0.gflops
        } set: {
            $0.gflops = $1
        },
        .init("efficiency", "the share of gflops that layers reach", 0.001...100, initial: 1) {
            $0.efficiency
        } set: {
            $0.efficiency = $1
        },
        .init("memory-bandwidth", "GB/s", 0.001...1e9) {
            $0.memoryBandwidth
        } set: {
            $0.memoryBandwidth = $1
        },
        .init("memory", "GB", 0.001...1e6) {
            $0.memory
        } set: {
            $0.memory = $1
        },
        .init("port-bandwidth", "GB/s each way through a node's port", 0.000_001...1e6) {
            $0.portBandwidth
        } set: {
            $0.portBandwidth = $1
        },
        .init("inside-bandwidth", "GB/s each way of a device to its node's others", 0.000_001...1e6) {
            $0.insideBandwidth
        } set: {
            $0.insideBandwidth = $1
        },
        .init("latency", "microseconds", 0...1e6, initial: 0) {
            $0.latency
        } set: {
            $0.latency = $1
        },
        .init("message-time", "microseconds", 0...1e6, initial: 0) {
            $0.messageTime
        } set: {
            $0.messageTime = $1
        },
        .init("contention", "the share of a device's speed", 0...1, initial: 0) {
            $0.contention
        } set: {
            $0.contention = $1
        },
        .init("node-first", "0 or 1", 0...1, initial: 1, isWhole: true) {
            $0.nodeFirst ? 1 : 0
        } set: {
            $0.nodeFirst = $1 == 1
        },
        .init("windows", "0 or 1", 0...1, initial: 1, isWhole: true) {
            $0.hasWindows ? 1 : 0
        } set: {
            $0.hasWindows = $1 == 1
        },
    ]

    private static let file = FlatYAML(.machine, lines: "one number a line, such as gflops: 4290")

    /// Reads a machine from a YAML file: a mapping from the names of `properties` to numbers.
    ///
    /// - Throws: `TrainingError`: `file:line:column: what is wrong, what is known`.
    public init(file path: String) throws(TrainingError) {
        try self.init(try Machine.file.bytes(of: path), path: path)
    }

    init(_ bytes: [UInt8], path: String) throws(TrainingError) {
        self.init(
            name: path, gflops: 0, memoryBandwidth: 0, memory: 0,
            portBandwidth: 0, insideBandwidth: 0)
        let names = Machine.properties.map(\.name)
        let known = "known: " + names.joined(separator: ", ")
        var given: Set<String> = []
        for entry in try Machine.file.entries(bytes, path: path) {
            guard let property = Machine.properties.first(where: { $0.name == entry.name }) else {
                let found = entry.name.map { "unknown name '\($0)'" } ?? "this is no name"
                let nearest = entry.name.flatMap { nearestName(to: $0, among: names) }
                let advice = nearest.map { "; did you mean '\($0)'?" } ?? ";"
                throw .usage("\(entry.namePlace): \(found)\(advice) \(known)")
            }
            let text = entry.value?.text ?? "a list or a mapping"
            guard let value = entry.value.flatMap({ property.read($0.text) }) else {
                throw .usage("\(entry.valuePlace): \(property.name) is '\(text)'; \(property.expected)")
            }
            property.set(&self, value)
            given.insert(property.name)
        }
        for property in Machine.properties where !given.contains(property.name) {
            guard let initial = property.initial else {
                throw .usage("\(path): \(property.name) is missing; \(property.expected)")
            }
            property.set(&self, initial)
        }
    }

    /// The machine as a file that `init(file:)` reads.
    public var yaml: String {
        Machine.properties.map { "\($0.name): \($0.value(self).short)  # \($0.unit)\n" }.joined()
    }
}

extension Machine: JSONConvertible {
    public var json: JSON {
        ["name": name]
            + .object(
                Machine.properties.map {
                    .init($0.name.replacing("-", with: "_"), .number($0.value(self)))
                })
    }
}

extension Double {
    /// The number in up to six significant digits.
    fileprivate var short: String { String(format: "%.6g", self) }
}
