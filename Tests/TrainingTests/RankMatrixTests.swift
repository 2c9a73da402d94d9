import Collectives
import Configuration
import Foundation
import Runs
import TestSupport
import Testing
import Training

/// Trains whole runs on ranks, here threads, that all end with the same files.
///
/// They augment, drop units and validate. `MPITests` has the core of this under mpirun, `tools/check_ranks`
/// the whole.
@Suite(.serialized) struct RankMatrixTests {
    struct Mode: CustomTestStringConvertible, Sendable {
        var ranks = 1
        var parallelism = Parallelism.data
        var transport = TransportChoice.auto
        var exchange = ExchangePolicy.lazy

        /// With `auto` pretended nodes, whose ranks are no neighbours if there are four.
        var nodes: [[Int]]? {
            guard transport == .auto else { return nil }
            return switch ranks {
            case 4: [[0, 2], [1, 3]]
            case 8: [[0, 1, 2, 3], [4, 5, 6, 7]]
            default: (0..<ranks).map { [$0] }
            }
        }

        var testDescription: String {
            let place = nodes.map { "nodes \($0)" } ?? "one node"
            return "\(ranks) ranks, \(parallelism), \(transport), \(exchange), \(place)"
        }
    }

    private static let modes = [1, 2, 3, 4, 8].flatMap { ranks in
        let transports: [TransportChoice] = ranks == 1 ? [.auto] : [.auto, .shared, .onesided, .sendrecv]
        return transports.flatMap { transport in
            [Parallelism.data, .hybrid].flatMap { parallelism in
                [ExchangePolicy.lazy, .synchronous].map {
                    Mode(ranks: ranks, parallelism: parallelism, transport: transport, exchange: $0)
                }
            }
        }
    }

    /// The photographs, and the run `alone` in one process.
    private static let shared = Result {
        let place = try Workplace()
        try train(Mode(), place, "alone")
        return place
    }

    /// - Parameters:
    ///   - nodes: pretended nodes in the place of the mode's
    ///   - sinks: those of the first rank
    private static func train(
        _ mode: Mode, _ place: Workplace, _ run: String,
        resuming: Bool = false, nodes: [[Int]]? = nil, sinks: [Notes] = []
    ) throws {
        var options = TrainingOptions()
        (options.data, options.output) = (place.file("set"), place.file(run))
        // Layers of 8 and 2 slices: some of 8 ranks hold nothing of the second.
        (options.model, options.imageSize, options.device) = ("16,M,F128,F32", 16, "cpu")
        (options.batchSize, options.microBatches, options.epochs) = (16, 8, 2)
        (options.optimizer, options.learningRate, options.dropout) = (.sgd, .rate(0.02), 0.3)
        (options.augmentation, options.cache, options.workers) = (.paper, .off, 1)
        (options.parallelism, options.transport, options.exchange) = (
            mode.parallelism, mode.transport, mode.exchange
        )
        let given = options
        @Sendable func train(_ ranks: Ranks?) throws {
            let own = ranks?.isFirst == true ? sinks : []
            try Trainer(given, resuming: resuming, version: "test", ranks: ranks, sinks: own).run()
        }
        if mode.ranks == 1 { return try train(nil) }
        try ThreadCommunicator.run(mode.ranks, nodes: nodes ?? mode.nodes) { communicator in
            try train(Ranks(communicator))
            try communicator.barrier()
        }
    }

    /// Two epochs; every third run then does the second one again, in another mode.
    @Test(arguments: modes.indices) func runsEndWithTheSameFiles(_ index: Int) throws {
        let place = try RankMatrixTests.shared.get()
        let modes = RankMatrixTests.modes
        let run = "run-\(index)"
        defer { try? place.remove(run) }
        try RankMatrixTests.train(modes[index], place, run)
        try check(run, "\(modes[index])")
        guard index % 3 == 0 else { return }
        let other = modes[(index + 11) % modes.count]
        try place.remove("\(run)/checkpoints/step-6")
        try RankMatrixTests.train(other, place, run, resuming: true)
        try check(run, "\(modes[index]), resumed with \(other)")
    }

    /// Takes the remarks of a run.
    private final class Notes: EventSink, @unchecked Sendable {
        var lines: [String] = []
        func receive(_ event: RunEvent) {
            if case .note(let line) = event { lines.append(line) }
            if case .flatExchange(let reason) = event { lines.append(reason.description) }
        }
    }

    /// A run on nodes of different sizes says that they do not reduce first, and ends with the same bytes.
    @Test func nodesOfDifferentSizesAreNamed() throws {
        let place = try RankMatrixTests.shared.get()
        defer { try? place.remove("uneven") }
        for (nodes, isUneven) in [([[0, 1], [2]], true), ([[0, 1], [2, 3]], false)] {
            try? place.remove("uneven")
            let notes = Notes()
            try RankMatrixTests.train(
                Mode(ranks: nodes.joined().count), place, "uneven", nodes: nodes, sinks: [notes])
            try check("uneven", "nodes \(nodes)")
            let expected = "because the nodes have different numbers of ranks: 2, 1"
            #expect(notes.lines.contains { $0.hasSuffix(expected) } == isUneven, "\(notes.lines)")
            #expect(notes.lines.contains { $0.contains("ranks") }, "\(notes.lines)")
        }
    }

    private func check(_ run: String, _ comment: Comment) throws {
        let place = try RankMatrixTests.shared.get()
        try place.expectSameModel(run, "alone", comment)
        let optimizer = "checkpoints/last/optimizer.safetensors"
        let isSame = try place.bytes("\(run)/\(optimizer)") == place.bytes("alone/\(optimizer)")
        #expect(isSame, comment)
        func accuracies(_ run: String) throws -> [Double] {
            try place.events(run, "validate").compactMap { $0["loss"] as? Double }
        }
        #expect(try accuracies(run) == accuracies("alone") && accuracies(run).count == 2, comment)
    }
}
