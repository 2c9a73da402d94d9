import Basics
import Foundation
import Photographs
import TestSupport
import Testing

/// What the program says when something is not as it should be: a hint is a command that works when typed.
@Suite(.serialized) struct NewcomerTests {
    private let place: Workplace

    init() throws { place = try Workplace() }

    private static let heic: [UInt8] = Array("\0\0\0\u{18}ftypheic\0\0\0\0mif1heic".utf8)
    private static let small = Workplace.small.dropFirst(2).joined(separator: " ")

    private func fails(_ line: String, _ status: Int32 = 1) throws -> String {
        let result = try place.run(line.split(separator: " ").map(String.init))
        #expect(result.status == status, "\(line): \(result)")
        return result.errors + result.output
    }

    /// Runs a hint in the shell as it was printed, with the trainer in PATH.
    @discardableResult private func type(_ hint: String, _ sourceLocation: SourceLocation = #_sourceLocation)
        throws -> Command.Result
    {
        try place.write("#!/bin/sh\nexec '\(Command.path("trainer"))' \"$@\"\n", "bin/trainer")
        chmod(place.file("bin/trainer"), 0o755)
        let path = place.file("bin") + ":" + (ProcessInfo.processInfo.environment["PATH"] ?? "")
        let result = try Command.run(["/bin/sh", "-c", hint], in: place.path, environment: ["PATH": path])
        #expect(result.status == 0, "\(hint): \(result)", sourceLocation: sourceLocation)
        return result
    }

    private func hint(_ pattern: Regex<(Substring, Substring)>, in text: String) throws -> String {
        String(try #require(text.firstMatch(of: pattern), "\(text)").1)
    }

    // MARK: - Formats that are not read

    /// Every command names HEIC photographs that are all that is there, and the command converts them.
    @Test func onlyHEIC() throws {
        for name in ["cat/1.heic", "cat/my 2.HEIC", "dog/3.heic", "dog/4.heic"] {
            try place.write(Self.heic, "phone/" + name)
        }
        let found = "4 HEIC photographs cannot be read; convert them: find phone"
        try place.train("--epochs 1 --out run")
        for line in [
            "train --data phone", "inspect phone", "evaluate --checkpoint run --data phone",
            "predict --checkpoint run phone", "prepare phone --out prepared",
        ] {
            let text = try fails(line)
            #expect(text.contains(found), "\(line): \(text)")
        }
        // A converter that can only copy.
        try place.write("#!/bin/sh\ncp '\(place.file(place.photograph("ring")))' \"$2\"\n", "bin/magick")
        chmod(place.file("bin/magick"), 0o755)
        try type(hint(#/convert them: (find .*;)/#, in: fails("train --data phone")))
        let names = try place.names("phone/cat") + place.names("phone/dog")
        #expect(
            names == ["1.heic", "1.heic.jpg", "my 2.HEIC", "my 2.HEIC.jpg"]
                + ["3.heic", "3.heic.jpg", "4.heic", "4.heic.jpg"])
        let line = try place.succeed("train --data phone \(Self.small) --batch 2 --out converted").output
        #expect(line.contains("not used: 4 HEIC photographs cannot be read, in cat, dog; convert"), "\(line)")
    }

    // MARK: - What is not used

    @Test func unusedFilesAreListed() throws {
        let names = try place.names("set/train/ring")
        for (index, name) in names.enumerated() {
            let other = index % 2 == 0 ? "cat" : "dog"
            try place.write(place.bytes("set/train/ring/" + name), "mixed/\(other)/\(index)")
        }
        try place.write(Self.heic, "mixed/cat/5.heic")
        try place.write("x", "mixed/dog/<notes>.txt")
        try place.write("x", "mixed/top.doc")
        let trained = try place.succeed("train --data mixed \(Self.small) --epochs 1 --out mixed-run").output
        let listing = try hint(#/listed by: (.*)\n/#, in: trained)
        #expect(listing == "trainer inspect mixed --out inspection.html")
        let text = try type(listing + " --json inspection.json").output
        #expect(text.contains("look at: 3 files are not used, beside 16 photographs"), "\(text)")
        #expect(!text.contains("`train` stops"))
        let entries = try JSON.list(place.json("inspection.json")["unused"]).map { entry in
            [entry["file"], entry["kind"], entry["reason"]].map(JSON.text)
        }
        #expect(
            entries == [
                ["mixed/dog/<notes>.txt", ".txt", "of a kind that is not read"].map {
                    $0.replacing("mixed/", with: "")
                }, ["top.doc", ".doc", "of a kind that is not read"],
                ["cat/5.heic", ".heic", "a HEIC picture, which is not read"],
            ])
        let page = try place.text("inspection.html")
        #expect(page.contains("<td>dog/&lt;notes&gt;.txt</td><td>.txt</td><td>of a kind"))
        // Any folder of photographs can be inspected, as `predict` takes it.
        let predicted = try place.succeed("predict --checkpoint mixed-run --top 1 mixed/cat").output
        let flat = try type(hint(#/listed by: (.*)\n/#, in: predicted)).output
        #expect(flat.contains("`train` stops with: mixed/cat: 8 photographs in it and no class"), "\(flat)")
        try place.succeed("inspect --data mixed")
        #expect(try fails("inspect mixed --data mixed", 2).contains("expected one folder of photographs"))
    }

    /// A list of labels among the photographs is used.
    @Test func listAmongThePhotographs() throws {
        var rows = "file,class\n"
        for label in try place.names("set/train") {
            for name in try place.names("set/train/" + label) {
                try place.write(place.bytes("set/train/\(label)/\(name)"), "flat/" + name)
                rows += "\(name),\(label)\n"
            }
        }
        try place.write(rows, "flat/list.csv")
        let text = try place.succeed("inspect flat --labels flat/list.csv").output
        #expect(!text.contains("not used"), "\(text)")
        try place.write(rows, "flat/other.csv")
        let other = try place.succeed("inspect flat --labels flat/list.csv").output
        #expect(other.contains("not used: 1 file of a kind that is not read (1 .csv), in"), "\(other)")
    }

    /// The error that an inspection announces is the one with which training stops.
    @Test func inspectionSaysWhatTrainRefuses() throws {
        func announced(_ data: String) throws -> String {
            try hint(#/`train` stops with: (.*)\n/#, in: place.succeed("inspect " + data).output)
        }
        try place.makeFolder("set/train/empty")
        let empty = try announced("set")
        #expect(empty.contains("set/train/empty: an empty class"), "\(empty)")
        #expect(try fails("train --data set \(Self.small) --out never").contains(empty))
    }

    @Test func inspectionCountsBadFiles() throws {
        for number in 0..<2 { try place.write("no photograph", "set/train/ring/bad\(number).jpg") }
        let text = try place.succeed("inspect set").output
        #expect(
            text.contains(
                "`train` stops with: 2 of 62 photographs cannot be used, more than the allowed 1%; "
                    + "repair or remove the files, or allow more with --max-bad 4"), "\(text)")
    }

    // MARK: - Photographs in the wrong place

    @Test func runAsData() throws {
        try place.train("--epochs 1 --out run")
        let trained = try fails("train --data run")
        #expect(trained.contains("run: the folder of a run, which has no photographs"), "\(trained)")
        try type(hint(#/continue it \((trainer .*?)\)/#, in: trained))
        try type(hint(#/; type (trainer evaluate .*)/#, in: fails("evaluate --checkpoint run --data run")))
        #expect(try fails("inspect run").contains("give photographs (--data "))
    }

    @Test func parentAsData() throws {
        try FileManager.default.createDirectory(
            atPath: place.file("all/notes"), withIntermediateDirectories: true)
        try FileManager.default.moveItem(atPath: place.file("set"), toPath: place.file("all/my set"))
        for command in ["train --data all", "inspect all"] {
            let text = try command.hasPrefix("inspect") ? place.succeed(command).output : fails(command)
            let option = try hint(#/those of all\/my set; give (--data .*)/#, in: text)
            try type("trainer inspect " + option)
        }
        try type("trainer train --data 'all/my set' \(Self.small) --epochs 1 --out run")
        let text = try fails("evaluate --checkpoint run --data all")
        try type("trainer evaluate --checkpoint run " + hint(#/; give (--data .*)/#, in: text))
    }

    /// A path without an option is answered with the line that works.
    @Test func pathWithoutOption() throws {
        for line in ["train set", "set"] {
            let text = try fails("\(line) \(Self.small) --epochs 1 --out run-\(line.count)", 2)
            try type(hint(#/Type: (trainer train --data set .*)/#, in: text))
        }
    }

    // MARK: - Too many bad files

    @Test func hintsAfterBadFiles() throws {
        try place.write("", "set/train/ring/empty.jpg")
        try place.write("no photograph", "set/val/ring/text.jpg")
        let line = "train " + Workplace.small.joined(separator: " ")
        // Before the first checkpoint.
        let early = try fails(line + " --out run")
        let more = try hint(#/allow more with (--max-bad \d+),/#, in: early)
        let again = try hint(#/type the line again with (--out run --resume-or-start)/#, in: early)
        let existing = try fails(line + " --out run")
        #expect(existing.contains("type the line again with --resume-or-start"), "\(existing)")
        #expect(try fails("--resume run").contains("again, with --resume-or-start"))
        try type("trainer \(line) \(more) \(again)")
        // After it.
        let late = try fails(line + " --out late --max-bad 1")
        try type(hint(#/allow more \((trainer .*?)\)/#, in: late))
        #expect(try fails(line + " --out late").contains("resume it (trainer --resume late)"))
    }

    /// With no photograph to measure on, the next command is another one, and works.
    @Test(arguments: [false, true]) func nextCommand(isMeasurable: Bool) throws {
        if !isMeasurable {
            for label in try place.names("set/val") {
                for name in try place.names("set/val/" + label) {
                    try place.write("no photograph", "set/val/\(label)/\(name)")
                }
            }
        }
        let text = try place.train("--max-bad 20 --epochs 1 --out run").output
        let next = try hint(#/next: (.*)\n/#, in: text)
        #expect(next.hasPrefix(isMeasurable ? "trainer evaluate " : "trainer predict "))
        try type(next)
        let context = try #require(text.range(of: "training and "))
        #expect(text[..<context.lowerBound].split(separator: "\n").count <= 1, "\(text)")
    }

    // MARK: - Stops

    @Test(arguments: [SIGINT, SIGTERM]) func stopBeforeTheFirstStep(signal: Int32) throws {
        // Their mean takes long to measure.
        let large = try encodeJPEG(smoothPicture(width: 3000, height: 3000))
        for label in ["a", "b"] {
            try place.write(large, "large/\(label)/0.jpg")
            for number in 1..<2000 {
                link(place.file("large/\(label)/0.jpg"), place.file("large/\(label)/\(number).jpg"))
            }
        }
        let result = try place.run(
            ["train", "--data", "large", "--out", "run"],
            whileRunning: { process in
                usleep(1_500_000)
                kill(process, signal)
            })
        #expect(result.status == 128 + signal, "\(result)")
        let name = signal == SIGINT ? "SIGINT" : "SIGTERM"
        #expect(result.output == "stopped by \(name) before the first step; nothing was lost\n", "\(result)")
        #expect(!place.exists("run"))
    }

    @Test func stopWhileDrawing() throws {
        for command in [["scenes", "--out", "big", "--count", "500000"], ["train", "--out", "never"]] {
            let folder = command[0] == "scenes" ? "big" : "scenes"
            let result = try place.run(command) { [place] process in
                let end = ContinuousClock.now + .seconds(30)
                while try !place.names().contains(where: { $0.hasPrefix(".\(folder).partial-") }),
                    ContinuousClock.now < end
                { usleep(1000) }
                kill(process, SIGINT)
            }
            #expect(result.status == 130, "\(result)")
            let line = "stopped by SIGINT while drawing, and no picture was kept; nothing was lost\n"
            #expect(result.output.hasSuffix(line), "\(result)")
            #expect(try place.names().allSatisfy { !$0.contains("partial") && $0 != folder })
        }
    }

    // MARK: - Formats of results

    /// Words for classes are in the table too.
    @Test func wordsInTheTable() throws {
        for part in ["train", "val"] {
            for (number, label) in try place.names("set/" + part).enumerated() {
                try FileManager.default.moveItem(
                    atPath: place.file("set/\(part)/\(label)"),
                    toPath: place.file("set/\(part)/n0000000\(number)"))
            }
        }
        try place.write("n00000000 cat, tabby\nn00000001 dog\nn00000002 cow\n", "set/synset_words.txt")
        try place.train("--epochs 1 --out run")
        try place.succeed("predict --checkpoint run --top 3 --csv table.csv set/val/n00000000")
        let lines = try place.text("table.csv").split(separator: "\n")
        #expect(lines[0] == "file,class,probability,error,words")
        #expect(lines.dropFirst().contains { $0.hasSuffix(",\"cat, tabby\"") }, "\(lines)")
    }
}
