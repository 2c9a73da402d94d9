import Foundation
import TestSupport
import Testing

/// What `evaluate` and `predict` make of folders and lists: the second table of inputs in docs/data.md.
@Suite(.serialized) struct InputCommandTests {
    private let place: Workplace

    init() throws {
        place = try Workplace.shared.get()
        guard !place.exists("own-run") else { return }
        // Three classes of 16 photographs, of which two each are held out.
        try FileManager.default.copyItem(atPath: place.file("set/train"), toPath: place.file("own"))
        try place.train("--data own --out own-run")
        for label in ["ring", "striped-disc"] {
            let names = try place.names("set/val/" + label)
            for name in names {
                try place.file("flat/\(label)-\(name)", place.bytes("set/val/\(label)/\(name)"))
            }
        }
        let names = try place.names("flat").map { $0.dropLast(4) }
        let rows = names.map { "\($0),\($0.hasPrefix("ring") ? "ring" : "striped-disc")\n" }
        try place.file("flat.csv", "id,label\n" + rows.joined() + "999,ring\n")
    }

    private func evaluate(_ options: String) throws -> [String] {
        try place.succeed("evaluate --checkpoint " + options).output.split(separator: "\n").map(String.init)
    }

    private let heldOut = "measuring 5 of the 48 photographs in own: those that training held out"

    @Test func ownFolder() throws {
        let lines = try evaluate("own-run --data own")
        #expect(lines[0] == heldOut && lines[1].hasPrefix("5 images: top-1"), "\(lines)")
        #expect(try evaluate("own-run --data own/")[0] == heldOut.replacing("own:", with: "own/:"))
        let part = try evaluate("run --data set")[0]
        #expect(part == "measuring the 12 photographs of 3 classes in set/val, the validation part")
    }

    @Test func ownFolderThatWasMoved() throws {
        try FileManager.default.copyItem(atPath: place.file("own"), toPath: place.file("moved"))
        let lines = try evaluate("own-run --data moved")
        #expect(lines[0] == heldOut.replacing(" own:", with: " moved:"), "\(lines)")
    }

    @Test func otherFolder() throws {
        let lines = try evaluate("own-run --data set/val")
        #expect(lines[0] == "measuring all 12 photographs of 3 classes in set/val", "\(lines)")
        #expect(lines[1].hasPrefix("12 images"))
    }

    @Test func otherFolderOfTwoParts() throws {
        let lines = try evaluate("own-run --data set")
        #expect(
            lines[0]
                == "measuring all 60 photographs of 3 classes in set: 48 in set/train and 12 in set/val")
        #expect(lines[1] == "to measure only the validation part, give --data set/val", "\(lines)")
    }

    @Test func partOfTheOwnFolder() throws {
        let lines = try evaluate("run --data set/train")
        #expect(lines[0] == "measuring all 48 photographs of 3 classes in set/train", "\(lines)")
        #expect(lines[1].contains("run was trained on set, so it has learnt from photographs that may be"))
    }

    @Test func missingClasses() throws {
        for name in try place.names("set/val/ring") {
            try place.file("partial/ring/" + name, place.bytes("set/val/ring/" + name))
        }
        let lines = try evaluate("own-run --data partial")
        #expect(lines[0] == "measuring all 4 photographs of 1 class in partial", "\(lines)")
        #expect(lines[1] == "no photograph of 2 of the 3 classes: “checkered-square”, “striped-disc”")
    }

    @Test func flatFolder() throws {
        try place.expect(
            run(
                "evaluate --checkpoint own-run --data flat", 1,
                "flat: 8 photographs in it and no class folders",
                "--labels FILE.csv", "`trainer predict` needs no classes"))
        try place.expect(
            run(
                "evaluate --checkpoint own-run --data set/val/ring", 1,
                "set/val/ring: 4 photographs in it and no class folders"))
        let error = try place.expect(train("--data flat", 1, "--labels FILE.csv"))
        #expect(!error.errors.contains("predict"), "\(error)")
    }

    @Test func unknownClass() throws {
        try place.file("unknown/cow/1.jpg", place.bytes(place.photograph("ring")))
        try place.expect(
            run("evaluate --checkpoint own-run --data unknown", 1, "“cow” is not among the model's 3 classes")
        )
    }

    @Test func listedPhotographs() throws {
        let lines = try evaluate("own-run --data flat --labels flat.csv")
        #expect(lines[0] == "measuring all 8 photographs of 2 classes in flat.csv", "\(lines)")
        #expect(lines[1] == "no photograph of 1 of the 3 classes: “checkered-square”")
        #expect(lines[2].contains("1 name in the list of labels for which there is no photograph: 999"))
        try place.expect(
            run("evaluate --checkpoint run --data flat --labels none.csv", 1, "none.csv: no such file"))
    }

    @Test func runOfAList() throws {
        let trained = try place.train("--data flat --labels flat.csv --batch 4 --out listed-run").output
        #expect(trained.contains("classes: ring (4), striped-disc (4)"), "\(trained)")
        #expect(
            trained.contains(
                "next: trainer evaluate --checkpoint listed-run --data flat --labels flat.csv\n"))
        for options in ["", " --labels flat.csv"] {
            let lines = try evaluate("listed-run --data flat" + options)
            #expect(
                lines[0] == "measuring 2 of the 8 photographs in flat: those that training held out",
                "\(lines)")
        }
    }

    @Test func photographsThatWereAdded() throws {
        try FileManager.default.copyItem(atPath: place.file("own"), toPath: place.file("grown"))
        try place.train("--data grown --out grown-run")
        for number in 0..<6 {
            try place.file("grown/ring/new\(number).jpg", place.bytes(place.photograph("ring")))
        }
        let lines = try evaluate("grown-run --data grown")
        #expect(
            lines[0] == "measuring 5 of the 54 photographs in grown: those that training held out", "\(lines)"
        )
        #expect(lines[1].contains("photographs were added, removed or changed since grown-run was trained"))
    }

    @Test func predictedFolder() throws {
        let photograph = try place.bytes(place.photograph("ring"))
        for name in ["1.jpg", "deep/2.jpg", ".hidden.jpg", "__MACOSX/3.jpg", "notes.txt"] {
            try place.file("folder/" + name, photograph)
        }
        symlink(".", place.file("folder/loop"))
        let lines = try place.succeed("predict --checkpoint run --top 1 folder folder").output
        #expect(lines.split(separator: "\n").count { $0.hasSuffix(".jpg") } == 2, "\(lines)")
        for part in ["1 link to what is listed already: folder/loop", "1 .txt", "2 hidden or system entries"]
        {
            #expect(lines.contains(part), "\(lines)")
        }
    }

    /// A class with one photograph is trained on, and nothing is claimed about its accuracy.
    @Test func nothingHeldOut() throws {
        let photograph = try place.bytes(place.photograph("ring"))
        for name in ["a", "b", "c"] { try place.file("single/\(name)/1.jpg", photograph) }
        let trained = try place.train("--data single --batch 2 --out single-run").output
        #expect(trained.contains("no validation, ") && trained.contains("last: no validation"), "\(trained)")
        try place.expect(
            run(
                "evaluate --checkpoint single-run --data single", 1,
                "none of its 3 photographs is held out", "--val-fraction 1"))
        #expect(try evaluate("single-run --data single --val-fraction 1")[0].contains("all 3 photographs"))
    }

    /// Class names in two Unicode forms are one class, whose model can be evaluated, resumed and used.
    @Test func unicodeForms() throws {
        let photograph = try place.bytes(place.photograph("ring"))
        for index in 0..<6 {
            try place.file("forms/caf\u{E9}/\(index).jpg", photograph)
            try place.file("forms/cafe\u{301}/\(index).jpg", photograph)
            try place.file("forms/dog/\(index).jpg", photograph)
        }
        let trained = try place.train("--data forms --out forms-run").output
        #expect(trained.contains("classes: caf\u{E9} (12), dog (6)"), "\(trained)")
        #expect(try evaluate("forms-run --data forms")[0].contains("2 of the 18 photographs in forms"))
        try place.succeed("predict --checkpoint forms-run forms/dog/1.jpg")
        try place.succeed("--resume forms-run")
    }

    /// The table in the documentation names what these tests check.
    @Test func documentation() throws {
        let names = try documentedInputs().map(\.name).suffix(12)
        #expect(
            names == [
                "`evaluate` on the run's own folder",
                "`evaluate` on the run's own folder after it was moved", "`evaluate` on another folder",
                "`evaluate` on another folder with `train/` and `val/`",
                "`evaluate` on one part of the run's own folder",
                "`evaluate` on a folder that lacks some of the model's classes",
                "`evaluate` on a flat folder", "`evaluate` on a class the model does not know",
                "`evaluate` on a flat folder with `--labels`",
                "`evaluate` of a run that was trained with `--labels`",
                "`evaluate` on a run's folder to which photographs were added", "`predict` on a folder",
            ])
    }
}
