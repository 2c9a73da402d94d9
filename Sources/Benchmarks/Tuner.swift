import Compute

/// Races the values of a device's constants, one constant after the other, and keeps the fastest.
///
/// Only values that give the bits of the initial ones are ranked.
public struct Tuner {
    /// One run with some tuning.
    public struct Trial: Sendable {
        public let seconds: Double
        /// A hash of every number of the result.
        public let digest: UInt64

        public init(seconds: Double, digest: UInt64) {
            self.seconds = seconds
            self.digest = digest
        }
    }

    /// What became of a value.
    public enum Outcome: Sendable, Equatable {
        /// Its time relative to that of the initial values.
        case timed(Double)
        /// Why it was not ranked.
        case discarded(String)
        /// The time was up.
        case skipped
    }

    /// The race of one constant.
    public struct Row: Sendable {
        public let constant: TuningConstant
        public internal(set) var candidates: [(value: Int, outcome: Outcome)]
        public internal(set) var chosen: Int
    }

    /// Times below this, in seconds, are errors: no layer is that fast.
    static let shortestRun = 10e-6
    /// A value is chosen if it is faster by more than runs differ from each other.
    private static let margin = 0.98

    public private(set) var rows: [Row]
    /// The fastest tuning.
    public private(set) var tuning: Tuning
    /// The time of the fastest tuning relative to that of the initial values.
    public private(set) var relativeTime = 1.0
    private var chosenTime: Double
    private let initial: Trial
    private var known: [[String: Int]: Outcome] = [:]

    /// Races until every value of every constant was tried once beside the best of the others.
    ///
    /// - Parameters:
    ///   - start: the initial values
    ///   - seconds: about the time after which the race ends; what was not tried is skipped
    ///   - report: called after each trial
    ///   - measure: runs what the constants are for
    /// - Throws: what `measure` throws with the initial values; with others it discards them
    public init(
        from start: Tuning, seconds: Double = 50,
        report: (TuningConstant, Int, Outcome) -> Void = { _, _, _ in },
        measure: (Tuning) throws -> Trial
    ) throws {
        let clock = ContinuousClock()
        let begin = clock.now
        initial = try measure(start)
        // A trial takes about as long as this one; the last comparison takes two more.
        let end = begin + .seconds(seconds) - (clock.now - begin) * 3
        guard initial.seconds >= Tuner.shortestRun else { throw Tuner.tooFast(initial.seconds) }
        tuning = start
        chosenTime = initial.seconds
        rows = start.racedConstants.map { constant in
            Row(
                constant: constant, candidates: constant.candidates.map { ($0, .skipped) },
                chosen: start[constant])
        }
        known[start.values] = .timed(1)
        for index in rows.indices {
            let constant = rows[index].constant
            for place in rows[index].candidates.indices where clock.now < end {
                let value = rows[index].candidates[place].value
                let outcome = try race(constant, value, measure)
                rows[index].candidates[place].outcome = outcome
                report(constant, value, outcome)
            }
        }
        // Chance chooses the fastest of many trials too: both tunings run once more, one after the other.
        if tuning != start {
            let (first, second) = (try measure(start), try measure(tuning))
            relativeTime = second.seconds / first.seconds
            if second.seconds >= Tuner.margin * first.seconds || second.digest != first.digest {
                tuning = start
                relativeTime = 1
            }
        }
        for index in rows.indices { rows[index].chosen = tuning[rows[index].constant] }
    }

    /// Runs with one value changed, and takes the value if it is faster.
    private mutating func race(
        _ constant: TuningConstant, _ value: Int, _ measure: (Tuning) throws -> Trial
    ) throws -> Outcome {
        var candidate = tuning
        if candidate[constant] != value {
            let family = KernelFamilies.all.first { $0.constants.contains { $0.key == constant.key } }
            do { try candidate.set(family?.changes(constant, to: value) ?? [constant.key: value]) } catch {
                return .discarded("\(error)")
            }
        }
        if let outcome = known[candidate.values] { return outcome }
        let outcome = outcome(candidate, measure)
        known[candidate.values] = outcome
        if case .timed(let relative) = outcome, relative * initial.seconds < Tuner.margin * chosenTime {
            tuning = candidate
            chosenTime = relative * initial.seconds
        }
        return outcome
    }

    private func outcome(_ candidate: Tuning, _ measure: (Tuning) throws -> Trial) -> Outcome {
        do {
            let trial = try measure(candidate)
            guard trial.digest == initial.digest else { return .discarded("the result has other bits") }
            guard trial.seconds >= Tuner.shortestRun else { throw Tuner.tooFast(trial.seconds) }
            return .timed(trial.seconds / initial.seconds)
        } catch { return .discarded("\(error)") }
    }

    private static func tooFast(_ seconds: Double) -> ComputeError {
        ComputeError("a run of \(seconds * 1e6) µs: the device has not done the work")
    }
}
