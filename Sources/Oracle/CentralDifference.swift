/// The slope of a loss along one direction in the space of parameters, from two evaluations.
public struct CentralDifference: Equatable, Sendable {
    /// (loss(p + step · d) − loss(p − step · d)) / (2 · step).
    public var slope: Double
    /// The number of ReLU and max-pool decisions that differ between the two evaluations.
    ///
    /// Unless it is 0 the loss has a kink in between and `slope` need not agree with a gradient: leave such a
    /// case out and count it.
    public var kinks: Int

    /// Measures the slope of the loss at `parameters` along `direction`.
    ///
    /// - Parameters:
    ///   - direction: of the same shape as the parameters
    ///   - step: the distance of each evaluation, in lengths of `direction`; 1e-5 balances rounding (ε/step)
    ///     and curvature (step²) in double precision for a direction of length 1
    ///   - evaluate: returns the loss at given parameters and its decisions, always in the same order
    public init(
        at parameters: [[Double]], along direction: [[Double]], step: Double = 1e-5,
        evaluate: ([[Double]]) throws -> (loss: Double, decisions: [Int])
    ) rethrows {
        func shifted(_ distance: Double) -> [[Double]] {
            zip(parameters, direction).map { zip($0, $1).map { $0 + distance * $1 } }
        }
        let ahead = try evaluate(shifted(step))
        let behind = try evaluate(shifted(-step))
        slope = (ahead.loss - behind.loss) / (2 * step)
        kinks = zip(ahead.decisions, behind.decisions).count { $0 != $1 }
    }

    /// Returns a random direction of length 1 of the parameters' shape, uniform in the cube before it is
    /// normalised.
    public static func direction(
        like parameters: [[Double]], using generator: inout some RandomNumberGenerator
    ) -> [[Double]] {
        let direction = parameters.map { $0.map { _ in Double.random(in: -1...1, using: &generator) } }
        let length = direction.joined().reduce(0) { $0 + $1 * $1 }.squareRoot()
        return direction.map { $0.map { $0 / length } }
    }

    /// Returns the slope that `gradients` predict along `direction`: their scalar product.
    public static func slope(of gradients: [[Double]], along direction: [[Double]]) -> Double {
        zip(gradients.joined(), direction.joined()).reduce(0) { $0 + $1.0 * $1.1 }
    }
}

extension OracleNetwork {
    /// Returns the slope of this network's loss at `parameters` along `direction`.
    public func centralDifference(
        _ batch: Batch, parameters: [[Double]], direction: [[Double]], step: Double = 1e-5
    ) -> CentralDifference {
        CentralDifference(at: parameters, along: direction, step: step) {
            let result = forward(batch, parameters: $0)
            return (result.loss, result.decisions)
        }
    }
}
