import Compute
import NeuralNet

/// Times dense evaluation: every window of images larger than the network's input.
public struct DenseBenchmark {
    /// Images per second in the median run.
    public let imagesPerSecond: Double
    /// The seconds of each timed run.
    public let seconds: [Double]
    /// The class scores of each image, averaged over its windows.
    public let scores: [[Float]]

    /// Runs `runs` passes over one mini-batch, after one that warms up.
    ///
    /// - Parameters:
    ///   - model: made for inference
    ///   - pixels: normalised images, [batch, height, width, 3]; nil for any numbers of a similar size
    public init(_ model: Network, batch: Int, height: Int, width: Int, pixels: [Float]?, runs: Int) throws {
        let imageBytes = 16 * height * width
        // The network's input has a fourth channel of zeros.
        var stored = [Float](repeating: 0, count: 4 * height * width * batch)
        for place in 0..<height * width * batch {
            for channel in 0..<3 {
                stored[4 * place + channel] =
                    pixels?[3 * place + channel] ?? Float((place * 31 + channel * 17) % 97) / 48 - 1
            }
        }
        let images = try Buffer(model.device, stored)
        let dense = try DenseNetwork(model)
        var all: [Float] = []
        seconds = try Benchmark.seconds(runs: runs) { _ in
            all = try dense.logits([.init(height: height, width: width, count: batch)]) {
                input, first, part in
                try input.copy(
                    from: images, sourceOffset: first * imageBytes, byteCount: part.count * imageBytes, to: 0)
            }
        }
        imagesPerSecond = Double(batch) / Benchmark.median(seconds)
        scores = (0..<batch).map {
            Array(all[$0 * model.logitsStride..<$0 * model.logitsStride + model.classes])
        }
    }
}
