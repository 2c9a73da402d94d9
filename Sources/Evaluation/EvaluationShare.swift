import Basics
import Collectives
import Photographs

/// One process's part of an evaluation: rank r of n takes mini-batches r, r + n, r + 2n and so on.
struct EvaluationShare {
    /// What a mini-batch gives.
    struct Part {
        /// The photographs that could be used, as indices into the set.
        var kept: [Int] = []
        /// `[kept][sources][classes]`.
        var values: [Float] = []
        var failures: [(sample: Int, error: ImageError)] = []
    }

    private let ranks: (any Communicator)?
    var index: Int { ranks?.rank ?? 0 }
    var count: Int { ranks?.size ?? 1 }

    /// - Parameter ranks: the processes that share the work; nil for this one alone
    init(_ ranks: (any Communicator)?) { self.ranks = ranks }

    /// Whether the last round of mini-batches has none for this process.
    func isLeftOut(ofLast batches: Int) -> Bool {
        let others = batches % count
        return others > 0 && index >= others
    }

    /// Returns the parts of all processes, in the order of the mini-batches.
    func gather(_ own: Part) throws -> [Part] {
        guard let ranks else { return [own] }
        let kept = try ranks.gather(own.kept)
        let values = try ranks.gather(own.values)
        let failures = try ranks.gather(Array(JSON.array(own.failures.map(EvaluationShare.json)).text.utf8))
        return try (0..<count).map { rank in
            Part(
                kept: kept[rank], values: values[rank],
                failures: (try JSON.parse(failures[rank]).array ?? []).compactMap(EvaluationShare.failure))
        }
    }

    private static func json(_ failure: (sample: Int, error: ImageError)) -> JSON {
        let error = failure.error
        return [failure.sample, error.kind.rawValue, error.file, error.detail]
    }

    private static func failure(_ json: JSON) -> (sample: Int, error: ImageError)? {
        guard let parts = json.array, parts.count == 4, let sample = parts[0].integer,
            let kind = parts[1].string.flatMap(ImageError.Kind.init(rawValue:)), let file = parts[2].string,
            let detail = parts[3].string
        else { return nil }
        return (sample, ImageError(kind, file: file, detail: detail))
    }
}
