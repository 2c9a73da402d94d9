import ArgumentParser
import Basics
import Benchmarks
import Configuration
import Foundation

struct CheckGradientsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-gradients",
        abstract: "Compare a network's gradients on a device with central differences in double precision.",
        discussion: "The reference is slow: keep the network, the images and the batch small.")

    @Option(help: OptionHelp.model) var model = "16,16,M,32,M,F32"
    @Option(help: OptionHelp.imageSize) var imageSize = 12
    @Option(help: OptionHelp.batch) var batch = 2
    @Option(help: OptionHelp.classes) var classes = 7
    @Option(help: "Seed of the weights, the images and the directions.") var seed: UInt64 = 1
    @OptionGroup var convolution: ConvolutionOptions
    @OptionGroup var device: DeviceOptions

    func validate() throws {
        try NetworkOptions.validate(imageSize: imageSize, batch: batch, classes: classes)
    }

    func run() throws {
        let architecture = try NetworkOptions.architecture(model, imageSize: imageSize)
        let check = try GradientCheck(
            architecture, imageSize: imageSize, classes: classes, batch: batch, seed: seed,
            convolution: convolution.algorithms, device: device.open())
        var table = TextTable(header: ["parameter", "device", "oracle", "error", "kinks"], [.left, .right])
        for row in check.rows {
            table.add(
                [row.parameter] + [row.device, row.oracle].map { String(format: "%+.6e", $0) }
                    + [String(format: "%.1e", row.error), "\(row.kinks)"])
        }
        print(table.text)
        print(
            String(
                format: "largest error %.1e (limit %.0e); %d of %d rows do not count because of kinks",
                check.largestError, GradientCheck.tolerance, check.excluded, check.rows.count))
        // Also fails if the largest error is not a number.
        guard check.largestError <= GradientCheck.tolerance else {
            throw TrainingError(
                "check-gradients: the device's gradients of '\(architecture)' disagree with the oracle's")
        }
    }
}
