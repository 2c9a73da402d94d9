import Basics
import Compute
import Configuration
import DeviceInput
import NeuralNet
import Training

/// Times parts of training on random data.
public enum Benchmark {
    /// Returns the seconds that `body` takes.
    static func time(_ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        return (ContinuousClock.now - start).seconds
    }

    /// Returns the seconds of each of `runs` runs, which take their number, after one that warms up.
    public static func seconds(runs: Int, _ body: (Int) throws -> Void) rethrows -> [Double] {
        try Array((0...runs).map { run in try time { try body(run) } }.dropFirst())
    }

    /// Returns the middle of the values, or the mean of the two in the middle; 0 if there are none.
    public static func median(_ values: [Double]) -> Double {
        guard !values.isEmpty else { return 0 }
        let sorted = values.sorted()
        return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    }

    /// The throughput of a training step or of a forward pass.
    public struct Step: Sendable {
        /// Images per second in the median step.
        public let imagesPerSecond: Double
        /// The seconds of each timed step.
        public let seconds: [Double]
        public let parameterCount: Int
        /// The last step's mean loss on random data; nil for a forward pass.
        public let loss: Double?

        init(_ step: BenchmarkedStep, _ seconds: [Double], _ network: Network, loss: Double? = nil) {
            imagesPerSecond = Double(step.batch) / median(seconds)
            self.seconds = seconds
            parameterCount = network.parameters.reduce(0) { $0 + $1.count }
            self.loss = loss
        }
    }

    /// Times the step function of `train`: input, forward with dropout, loss, backward and update.
    ///
    /// - Throws: `TrainingError` if a step's loss is not finite
    public static func step(
        _ step: BenchmarkedStep, steps: Int, learningRate: Float = Benchmark.learningRate, device: Device
    ) throws -> Step {
        let training = try step.trainingStep(on: device)
        let data = try step.randomBatch(on: device)
        var loss = 0.0
        let seconds = try seconds(runs: steps) {
            try training.run(data, step: $0, learningRate: learningRate)
            loss = try finiteLoss(of: $0, training)
        }
        return Step(step, seconds, training.network, loss: loss)
    }

    /// A learning rate so low that every network's loss stays finite on random data.
    ///
    /// A step whose loss is not finite skips the update and is faster.
    public static let learningRate: Float = 1e-4

    /// Waits for a step and returns its mean loss.
    ///
    /// - Throws: `TrainingError` if the loss is not finite, because the step's time would be too short
    static func finiteLoss(of step: Int, _ training: TrainingStep) throws -> Double {
        let totals = try training.takeTotals(of: step)
        let loss = Double(totals.loss / totals.weight)
        guard loss.isFinite else {
            throw TrainingError(
                "the loss of step \(step + 1) is \(loss), which is not finite: the step skips its update, so "
                    + "its time does not count")
        }
        return loss
    }

    /// Times the forward pass of a network made for inference, from the images' bytes to the class scores.
    public static func inference(_ step: BenchmarkedStep, runs: Int, device: Device) throws -> Step {
        let network = try step.network(training: false, on: device)
        let input = try ImageInput(
            device: device, size: step.imageSize, normalization: BenchmarkedStep.normalization)
        let data = try step.randomBatch(on: device)
        let pass = Pass(batch: step.batch, training: false)
        let seconds = try seconds(runs: runs) { _ in
            try input.load(bytes: data.bytes, records: data.records, output: network.input, pass: pass)
            try network.forward(pass)
            _ = try network.logits.read(step.batch * network.logitsStride, as: Float.self)
        }
        return Step(step, seconds, network)
    }
}
