import DemoScenes
import Basics
import ArgumentParser

struct ScenesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scenes",
        abstract:
            "Draw the demo set: textured shapes on cluttered backgrounds, as JPEG files in class folders.")

    @Option(help: "Folder to write. It must not exist, or be empty.") var out: String
    @Option(help: "Number of pictures. Four fifths go to train/, one fifth to val/.") var count = 2500
    @Option(help: "Side of each picture in pixels.") var size = 96
    @Option(
        help: "Number of classes, at most \(Scenes.maximumClasses); above 14, each is a shape of one colour."
    ) var classes = 10
    @Option(help: "Seed of the drawing.") var seed: UInt64 = 1
    @Option(help: "Size of the objects: normal, or small for half of it.")
    var objectScale: Scenes.ObjectScale = .normal

    @Flag(help: "Draw the pictures in val/ turned, distorted by a lens, in dim and in coloured light.")
    var hard = false

    @Option(help: "With --hard, apply only this condition.") var only: Scenes.Hardship?

    func validate() throws {
        guard only == nil || hard else {
            throw ValidationError("--only \(only?.rawValue ?? ""): expected --hard too")
        }
    }

    func run() throws {
        try Scenes.write(
            to: out, count: count, size: size, classes: classes, seed: seed, objectScale: objectScale,
            validationHardships: only.map { [$0] } ?? (hard ? Set(Scenes.Hardship.allCases) : []))
        print("\(count) pictures of \(classes) classes in \(out)")
    }
}
