import DeviceInput
import Basics
import ArgumentParser
import Foundation
import Photographs
import Models

struct AugmentCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "augment",
        abstract: "Show what augmentation does to a photograph, with the kernel that training uses.",
        discussion: """
            trainer augment IMAGE --out sheet.png: the panels of the paper's figure 5.
            trainer augment IMAGE --random 24 --seed 7 --out sheet.png: what training would see.
            trainer augment --replay SAMPLE --epoch E --data DIR --out sample.png: what a run with this seed sees of one image of its training set.
            trainer augment --counts: how many images each kind makes of one, beside the paper's numbers.
            """)

    @Argument(help: "A JPEG photograph.") var image: String?

    @Option(help: "The PNG file to write.") var out: String?

    @Option(help: "Draw this many at random.") var random: Int?

    @Option(help: "A position in the training set of --data.") var replay: Int?

    @Option(help: "The epoch, counted from 1.") var epoch = 1

    @Option(help: "Folder of labelled photographs, as in train.") var data: String?

    @Option(help: "Share of the photographs held out where the folder has no val/, as in train.")
    var valFraction = 0.1

    @Option(help: "Seed of the draws, as in train.") var seed: UInt64 = 1

    @Flag(help: "Print table 1 of the paper: its numbers and those of the configured ranges.") var counts =
        false

    @OptionGroup var json: JSONOptions

    @Option(help: "none, standard or paper, and changes such as paper,rotation=15,cast=30@0.25.")
    var augment = Augmentation.paper

    @Option(help: "Scales the ranges of the augmentation.") var augmentStrength = 1.0

    @Flag(help: "Effects read pixels of the crop alone.") var literal = false

    @Option(help: "Side of the crops in pixels.") var imageSize = 224

    @Option(
        help:
            "Pixels to which the photograph's shorter side is brought. Default: 8/7 of the crops' side; with --counts 512, as in the paper."
    ) var shortSide: Int?

    @OptionGroup var device: DeviceOptions

    func validate() throws {
        guard (2...4096).contains(imageSize) else {
            throw ValidationError("--image-size \(imageSize): expected 2 to 4096 pixels")
        }
        if let shortSide, !(imageSize...8192).contains(shortSide) {
            throw ValidationError(
                "--short-side \(shortSide): expected the image size (\(imageSize)) to 8192 pixels")
        }
        guard (0...10).contains(augmentStrength) else {
            throw ValidationError("--augment-strength \(augmentStrength): expected 0 to 10")
        }
        if let random, !(1...600).contains(random) {
            throw ValidationError("--random \(random): expected 1 to 600")
        }
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
                    "--replay \(replay): the training set has \(set.count) images, numbered from 0")
            }
            let picture = try loadImage(path: set.absolutePath(replay), shortSide: shortSide)
            let parameters = AugmentationParameters.draw(
                augmentation, width: picture.width, height: picture.height, size: imageSize, seed: seed,
                epoch: epoch, sample: replay)
            print("\(set.absolutePath(replay)), epoch \(epoch), seed \(seed): \(parameters.summary)")
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
        let table = AugmentationCounts.table(augmentation, width: side, height: side, size: imageSize)
        func cell(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count)) + text
        }
        print("kind             " + cell("paper", 8) + cell("ours", 10) + "  from")
        for row in table {
            print(
                row.name.padding(toLength: 17, withPad: " ", startingAt: 0) + cell("\(row.paper)", 8)
                    + cell("\(row.ours)", 10) + "  \(row.formula)")
        }
        try json.write(
            .object([
                .init("augment", .string(augmentation.rawValue)),
                .init(
                    "kinds",
                    .array(
                        table.map {
                            .object([
                                .init("kind", .string($0.name)), .init("paper", .integer($0.paper)),
                                .init("ours", .integer($0.ours)), .init("from", .string($0.formula)),
                            ])
                        })),
            ]))
    }
}
