import Basics
import Collectives
import Compute
import Configuration
import Foundation
import NeuralNet

/// The processes that train one network together, seen from one of them.
public final class Ranks {
    public let communicator: any Communicator
    public var rank: Int { communicator.rank }
    public var count: Int { communicator.size }
    /// Whether this is rank 0, which writes the run's folder and the console.
    public var isFirst: Bool { rank == 0 }
    /// Whether the ranks compare their weights after every step, and not only at checkpoints.
    let verifiesEachStep: Bool

    public init(_ communicator: any Communicator, verifiesEachStep: Bool = false) {
        self.communicator = communicator
        self.verifiesEachStep = verifiesEachStep
    }

    /// This process's index among the ranks of its node, and their number.
    public var place: (index: Int, count: Int) {
        (communicator.node.firstIndex(of: rank) ?? 0, communicator.node.count)
    }

    /// The number of cores that the launcher allows this process.
    static var usableCores: Int {
        // The kernel's mask in hexadecimal.
        let lines = SystemFile.text("/proc/self/status").split(separator: "\n")
        guard let mask = lines.first(where: { $0.hasPrefix("Cpus_allowed:") })?.dropFirst(13) else {
            return Int.max
        }
        return mask.reduce(0) { $0 + ($1.hexDigitValue ?? 0).nonzeroBitCount }
    }

    /// Returns the texts of all ranks, in their order.
    func gather(_ text: String) throws -> [String] {
        try communicator.gather(Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
    }

    /// Returns the values of all ranks, in their order.
    func gather<Value: BitwiseCopyable>(_ values: [Value]) throws -> [[Value]] {
        try communicator.gather(values)
    }

    /// Returns rank 0's text, which only rank 0 evaluates.
    func fromFirst(_ text: @autoclosure () throws -> String) throws -> String {
        try gather(isFirst ? try text() : "")[0]
    }

    /// Compares facts over all ranks.
    ///
    /// - Parameter facts: names and values, the same names on every rank
    /// - Throws: `TrainingError` that names the first difference and the ranks.
    func requireSame(_ facts: [(name: String, value: String)]) throws {
        let all = try gather(facts.map(\.value).joined(separator: "\u{1}")).map {
            $0.split(separator: "\u{1}", omittingEmptySubsequences: false).map(String.init)
        }
        for (index, fact) in facts.enumerated() {
            let values = all.map { $0.indices.contains(index) ? $0[index] : "unknown there" }
            if let rank = values.firstIndex(where: { $0 != values[0] }) {
                throw TrainingError(
                    "the ranks do not agree: \(fact.name) is \(Ranks.shortened(values[0])) on rank 0 and "
                        + "\(Ranks.shortened(values[rank])) on rank \(rank); start all ranks with the same "
                        + "program, options and photographs")
            }
        }
    }

    private static func shortened(_ text: String) -> String {
        text.isEmpty ? "empty" : text.count > 200 ? "\(text.prefix(200))…" : text
    }

    /// Compares the weights of all ranks, by a hash of each parameter's bits.
    ///
    /// - Throws: `TrainingError` that names the layer and the ranks.
    func verifyWeights(_ network: Network, step: Int) throws {
        // Of split layers each rank holds other weights.
        let parameters = network.parameters.filter { !$0.isSplit }
        let hashes = try parameters.map { parameter -> UInt64 in
            let values: [UInt32] = try network.weights[parameter].read(parameter.storedCount)
            var hash = FNVHash()
            for value in values { hash.add(UInt64(value)) }
            return hash.value
        }
        let all = try communicator.gather(hashes)
        for (index, parameter) in parameters.enumerated() {
            let values = all.map { $0.indices.contains(index) ? $0[index] : 0 }
            // The majority is right; without one, rank 0.
            let usual =
                Dictionary(grouping: values, by: { $0 }).values.max { $0.count < $1.count }.flatMap(\.first)
                ?? values[0]
            let reference = values.filter { $0 == usual }.count * 2 > values.count ? usual : values[0]
            let odd = values.indices.filter { values[$0] != reference }
            guard odd.isEmpty else {
                throw TrainingError(
                    "after step \(step) the weights of \(parameter.name) are not the same on all ranks: rank "
                        + odd.map(String.init).joined(separator: ", ")
                        + " differs; its device or its memory is at fault. This was not saved")
            }
        }
    }
}
