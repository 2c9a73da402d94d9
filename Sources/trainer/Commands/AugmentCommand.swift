import DeviceInput
import Basics
import Configuration
import ArgumentParser
import Foundation
import Photographs
import Models

struct AugmentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "augment",
        abstract: "Show what augmentation does to a photograph, with the kernel that training uses.",
        discussion: """
            trainer augment IMAGE --out sheet.png
              Draw the panels of the paper's figure 5.
            trainer augment IMAGE --random 24 --seed 7 --out sheet.png
              Draw what training would see of a photograph in 24 draws.
            trainer augment --replay SAMPLE --epoch E --data DIR --out sample.png
              Draw what a run with this seed sees of one photograph of its training set.
            trainer augment --counts
              Print how many photographs each kind makes of one, beside the paper's numbers.
            """)

    @Argument(help: "A photograph.") var image: String?
    @Option(help: "The PNG file to write.") var out: String?
    @Option(help: "Draw this many variants at random.") var random: Int?
    @Option(help: "Position of a photograph in the training set of --data, counted from 0.") var replay: Int?
    @Option(help: "Epoch of the draws, counted from 1.") var epoch = 1
    @Option(help: OptionHelp.data) var data: String?

    @Option(help: "Share of photographs held out for validation if --data has no val/, as in train.")
    var valFraction = TrainingOptions().validationFraction

    @Option(help: "Seed of the draws, as in train.") var seed = TrainingOptions().seed
    @Flag(help: "Print table 1 of the paper beside the numbers of the configured ranges.") var counts = false
    @OptionGroup var json: JSONOptions

    @Option(
        help: "Augmentation, with changes as in paper,rotation=15.")
    var augment = Augmentation.paper

    @Option(help: "Factor for all ranges of the augmentation, 0 to 10.") var augmentStrength = 1.0
    @Flag(help: "Let effects read only pixels of the crop, as the paper says.") var literal = false
    @Option(help: OptionHelp.cropSize) var imageSize = 224

    @Option(
        help: """
            Shorter side after resizing. Default: 8/7 of --image-size; with --counts 512, as in the paper.
            """) var shortSide: Int?

    @OptionGroup var device: DeviceOptions

    func validate() throws {
        try require(imageSize: imageSize, shortSide: shortSide)
        try requireAsTrain("augment-strength", augmentStrength)
        try requireAsTrain("val-fraction", valFraction)
        try require("--random", random, in: 1...600, "variants")
        guard epoch >= 1 else { throw ValidationError("--epoch \(epoch): expected 1 or more") }
        if counts { return }
        guard out != nil else { throw ValidationError("--out is missing: name the PNG file to write") }
        guard (image == nil) != (replay == nil) else {
            throw ValidationError("expected a photograph, or --replay SAMPLE with --data DIR")
        }
        guard replay == nil || data != nil else {
            throw ValidationError("--replay \(replay ?? 0): expected --data DIR with it")
        }
    }

    func run() throws {
        var augmentation = augment.scaled(by: augmentStrength)
        augmentation.isLiteral = augmentation.isLiteral || literal
        if counts { try showCounts(augmentation) }
        guard let out else { return }
        let shortSide = shortSide ?? ModelDescription.usualShortSide(imageSize: imageSize)
        let view = try AugmentationView(device: device.open(), size: imageSize)
        let sheet: DecodedImage
        if let replay, let data {
            let set = try Dataset.load(root: data, validationFraction: valFraction).training
            guard (0..<set.count).contains(replay) else {
                throw ValidationError(
                    "--replay \(replay): the training set has \(set.count) photographs, numbered from 0")
            }
            let picture = try set.decoded(replay, shortSide: shortSide)
            let parameters = AugmentationParameters.draw(
                augmentation, width: picture.width, height: picture.height, size: imageSize, seed: seed,
                epoch: epoch, sample: replay)
            print("\(set.location(replay)), epoch \(epoch), seed \(seed): \(parameters.summary)")
            sheet = try view.replay(picture, parameters)
        } else if let image {
            let picture = try loadImage(path: image, shortSide: shortSide)
            sheet =
                if let random {
                    try view.random(picture, augmentation, count: random, seed: seed, epoch: epoch)
                } else { try view.figure(picture, augmentation) }
        } else {
            return
        }
        try AtomicFile.write(out, encodePNG(sheet))
        print("\(out): \(sheet.width) × \(sheet.height) pixels")
    }

    private func showCounts(_ augmentation: Augmentation) throws {
        let side = shortSide ?? 512
        let rows = AugmentationCount.table(augmentation, width: side, height: side, size: imageSize)
        var table = TextTable(header: ["kind", "paper", "ours", "from"], [.left, .right, .right, .left])
        for row in rows {
            table.add([row.name, row.paper.map { "\($0)" } ?? "–", "\(row.ours)", row.formula])
        }
        print(table.text)
        let kinds = rows.map {
            ["kind": $0.name, "paper": $0.paper, "ours": $0.ours, "from": $0.formula] as JSON
        }
        try json.write(["augment": augmentation.rawValue, "kinds": kinds])
    }
}
