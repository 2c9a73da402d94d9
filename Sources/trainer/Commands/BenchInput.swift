import Benchmarks
import Configuration
import DeviceInput
import Basics
import ArgumentParser
import Foundation

struct BenchInput: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "input",
        abstract: "Time the way from files to the network's input: decoding, augmentation and the cache.",
        discussion:
            "Files are in the system's memory, except in passes with cold files, which come from the disk."
    )

    @Option(help: "Folder of photographs at any depth, or archives.") var data: String
    @Option(help: OptionHelp.cropSize) var imageSize = 224
    @Option(help: "Length in pixels to which the shorter side of each photograph is resized.")
    var shortSide = 256

    @Option(help: OptionHelp.batch) var batch = 32
    @Option(help: OptionHelp.workers) var workers = TrainingOptions().workers
    @Option(help: "Photographs in a timed pass. Files repeat if there are fewer.") var images = 512
    @Option(help: "Timed rounds. Each runs all passes in turn; the table shows medians.") var rounds = 5
    @Option(help: "Augmentation, with changes as in `train`.")
    var augment = Augmentation.paper

    @OptionGroup var device: DeviceOptions
    @OptionGroup var json: JSONOptions

    func validate() throws {
        try require(imageSize: imageSize, shortSide: shortSide)
        try requireAsTrain("batch", batch)
        try requireAsTrain("workers", workers)
        try require("--images", images, in: 1...1_000_000_000, "photographs")
        try require("--rounds", rounds, in: 1...1_000_000, "rounds")
    }

    func run() throws {
        let device = try device.open()
        let results = try InputBenchmark(
            folder: data, imageSize: imageSize, shortSide: shortSide, batch: batch, workers: workers,
            images: images, rounds: rounds, augmentation: augment
        ).run(on: device)
        print(
            "photographs/s on \(device.description.name), \(workers) workers, crops of \(imageSize) from a "
                + "short side of \(shortSide)")
        var table = TextTable(header: ["", "median", "min", "max"], [.left, .right])
        for result in results {
            let numbers = [result.median, result.rates.min() ?? 0, result.rates.max() ?? 0]
            table.add([result.name] + numbers.map { String(format: "%.1f", $0) })
        }
        print(table.text)
        let passes = results.map {
            JSON.Member($0.key, ["images_per_second": $0.median, "rounds": $0.rates])
        }
        try json.write(.object(passes) + ["device": device.description.name, "workers": workers])
    }
}
