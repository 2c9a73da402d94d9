import Benchmarks
import Configuration
import ArgumentParser
import Foundation

struct CheckGradientsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check-gradients",
        abstract: "Compare a network's gradients on a device with central differences in double precision.",
        discussion: "The reference is plain loops: small images and few images keep it short.")

    @Option(help: "A name or a list such as 16,M,32,M,F32.") var model = "16,16,M,32,M,F32"

    @Option(help: "Side of the network's input in pixels.") var imageSize = 12

    @Option(help: "Images of the batch.") var batch = 2

    @Option(help: "Number of classes.") var classes = 7

    @Option(help: "Seed of weights, images and directions.") var seed: UInt64 = 1

    @OptionGroup var convolution: ConvolutionOptions

    @OptionGroup var device: DeviceOptions

    func validate() throws {
        guard (1...4096).contains(imageSize) else {
            throw ValidationError("--image-size \(imageSize): expected 1 to 4096 pixels")
        }
        guard (1...65_536).contains(batch) else {
            throw ValidationError("--batch \(batch): expected 1 to 65536 images")
        }
        guard (2...1_000_000).contains(classes) else {
            throw ValidationError("--classes \(classes): expected 2 or more")
        }
    }

    func run() throws {
        let architecture = try NetworkOptions.architecture(model, imageSize: imageSize)
        let check = try GradientCheck(
            architecture, imageSize: imageSize, classes: classes, batch: batch, seed: seed,
            convolution: convolution.algorithms, device: device.open())
        print("parameter              device         oracle         error     kinks")
        for row in check.rows {
            print(
                row.parameter.padding(toLength: 22, withPad: " ", startingAt: 0)
                    + String(format: "%+.6e  %+.6e  %.1e   %d", row.device, row.oracle, row.error, row.kinks))
        }
        print(
            String(
                format: "largest error %.1e (at most %.0e), %d of %d rows left out for kinks",
                check.largestError, GradientCheck.tolerance, check.excluded, check.rows.count))
        // Not a number fails too.
        guard check.largestError <= GradientCheck.tolerance else {
            throw TrainingError(
                "check-gradients: the device's gradients of '\(architecture)' do not agree with the oracle's")
        }
    }
}
