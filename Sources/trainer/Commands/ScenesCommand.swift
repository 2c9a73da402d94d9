import ArgumentParser
import Basics
import DemoScenes
import Runs

/// Draws pictures with `body`, which leaves nothing if a signal asks the program to stop.
///
/// - Throws: `StoppedEarly`, and what `body` throws.
func drawingInterruptibly(_ body: (@escaping @Sendable () -> Bool) throws -> Void) throws {
    do {
        try Interruption.removingUnfinished { try body { Interruption.reason != nil } }
    } catch is Scenes.Stopped {
        let reason = Interruption.reason ?? .maximumTime
        throw StoppedEarly(reason: reason, during: "while drawing, and no picture was kept")
    }
}

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
        try Interruption.watch()
        let hardships = only.map { [$0] } ?? (hard ? Set(Scenes.Hardship.allCases) : [])
        try drawingInterruptibly { isStopped in
            try Scenes.write(
                to: out, count: count, size: size, classes: classes, seed: seed,
                objectScale: objectScale, validationHardships: hardships, isStopped: isStopped)
        }
        print("\(count) pictures of \(classes) classes in \(out)")
    }
}
