import Benchmarks
import DeviceInput
import Basics
import ArgumentParser
import Foundation

struct BenchInput: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "input",
        abstract: "Time the way from files to the network's input: decoding, augmentation, the cache.")

    @Option(help: "Folder with .jpg or .jpeg files, at any depth.") var data: String

    @Option(help: "Side of the crops in pixels.") var imageSize = 224

    @Option(help: "Pixels to which the shorter side is brought.") var shortSide = 256

    @Option(help: "Images of a mini-batch.") var batch = 32

    @Option(help: "Threads that read photographs.") var workers = 2

    @Option(help: "Images of a timed pass; files are read again where there are fewer.") var images = 512

    @Option(help: "Timed rounds, each of all passes in turn; the medians count.") var rounds = 5

    @Option(help: "none, standard or paper, with changes, as in train.") var augment = Augmentation.paper

    @OptionGroup var device: DeviceOptions

    @OptionGroup var json: JSONOptions

    func validate() throws {
        guard (2...4096).contains(imageSize) else {
            throw ValidationError("--image-size \(imageSize): expected 2 to 4096 pixels")
        }
        guard (imageSize...8192).contains(shortSide) else {
            throw ValidationError(
                "--short-side \(shortSide): expected the image size (\(imageSize)) to 8192 pixels")
        }
        guard (1...65_536).contains(batch) else {
            throw ValidationError("--batch \(batch): expected 1 to 65536 images")
        }
        guard (1...256).contains(workers) else {
            throw ValidationError("--workers \(workers): expected 1 to 256 threads")
        }
        guard images >= 1 else { throw ValidationError("--images \(images): expected 1 or more") }
        guard rounds >= 1 else { throw ValidationError("--rounds \(rounds): expected 1 or more") }
    }

    func run() throws {
        let device = try device.open()
        let result = try InputBenchmark.run(
            folder: data, imageSize: imageSize, shortSide: shortSide, batch: batch, workers: workers,
            images: images, rounds: rounds, augmentation: augment, device: device)
        print(
            "images/s on \(device.description.name), \(workers) workers, crops of \(imageSize) from a short side of \(shortSide)"
        )
        for pass in result {
            print(
                String(
                    format: "  %@ median %9.1f  min %9.1f  max %9.1f",
                    pass.name.padding(toLength: 34, withPad: " ", startingAt: 0) as NSString, pass.median,
                    pass.rates.min() ?? 0, pass.rates.max() ?? 0))
        }
        try json.write(
            .object(
                result.map { pass in
                    .init(
                        pass.key,
                        .object([
                            .init("images_per_second", .number(pass.median)),
                            .init("rounds", .array(pass.rates.map { .number($0) })),
                        ]))
                } + [.init("device", .string(device.description.name)), .init("workers", .integer(workers))]))
    }
}
