@testable import Basics
import Foundation
import TestSupport
import Testing

/// `evaluate`, `predict` and `compare` with several views and models.
@Suite(.serialized) struct ViewTests {
    let place: Workplace
    /// A second model with another input size.
    static let other = Swift.Result {
        let place = try Workplace.shared.get()
        let result = try place.run([
            "train", "--data", "set", "--out", "other", "--model", "16,M,16,M,F16", "--image-size", "24",
            "--epochs", "1", "--batch", "8",
        ])
        guard result.status == 0 else { throw Workplace.Unexpected(description: "\(result)") }
        return "other"
    }

    init() throws {
        place = try Workplace.shared.get()
        _ = try Self.other.get()
    }

    private func object(_ file: String) throws -> JSON { try JSON.parse(place.bytes(file)) }

    private func list(_ value: JSON?) -> [JSON] {
        guard case .array(let values)? = value else { return [] }
        return values
    }

    private func text(_ value: JSON?) -> String {
        guard case .string(let text)? = value else { return "" }
        return text
    }

    @Test func everyViewOfTwoModels() throws {
        let result = try place.run([
            "evaluate", "--checkpoint", "run", "other", "--data", "set", "--dense", "--mirror", "--json",
            "views.json", "--csv", "views.csv", "--save-posteriors", "views.npy",
        ])
        #expect(result.status == 0, "\(result.errors)")
        for part in [
            "12 images: top-1", "single crop", "+ mirror", "+ scales", "all models",
            "views in the order of their gain", "gain (95 %)", "confusion", "class",
        ] { #expect(result.output.contains(part), "'\(part)' is not in \(result.output)") }
        let json = try object("views.json")
        let rows = list(json["rows"])
        #expect(
            rows.map { text($0["name"]) }
                == Array(repeating: ["single crop", "dense", "+ mirror", "+ scales"], count: 3).flatMap { $0 }
        )
        #expect(
            rows.map { text($0["model"]) } == Array(repeating: "run", count: 4)
                + Array(repeating: "other", count: 4) + ["", "", "", ""])
        #expect(
            rows.last?["top1"] == json["top1"] && list(json["greedy"]).count == 14
                && list(json["classes"]).count == 3)
        let csv = String(decoding: try place.bytes("views.csv"), as: UTF8.self).split(separator: "\n")
        #expect(
            csv.count == 13 && csv[0].hasPrefix("model,name,views,images,top1,")
                && csv[12].hasPrefix("all models,+ scales,12,12,"))
        let classes = String(decoding: try place.bytes("views.classes.csv"), as: UTF8.self).split(
            separator: "\n")
        // Three classes of each model and of both; the columns add up to the table's.
        #expect(
            classes.count == 10 && classes[0] == "model,class,images,top1,top5,loss"
                && classes.contains { $0.hasPrefix("all models,ring,4,") })
        let right = classes[7...9].map { Int($0.split(separator: ",")[3]) ?? -1 }.reduce(0, +)
        #expect(json["top1"] == .number(Double(right) / 12) || json["top1"] == .integer(right / 12))
        let confusion = String(decoding: try place.bytes("views.confusion.csv"), as: UTF8.self).split(
            separator: "\n"
        ).dropFirst()
        func images(_ lines: some Sequence<Substring>) -> Int {
            lines.reduce(0) { $0 + (Int($1.split(separator: ",")[3]) ?? 0) }
        }
        #expect(images(confusion.filter { $0.hasPrefix("all models,") }) == 12 && images(confusion) == 36)
        #expect(
            images(
                confusion.filter {
                    $0.hasPrefix("all models,") && $0.split(separator: ",")[1] == $0.split(separator: ",")[2]
                }) == right)
        // Two models with a crop and dense views at three scales, twelve photographs, three classes.
        #expect(try place.bytes("views.npy").count == 128 + 4 * 14 * 12 * 3)

        // Mixed again from what was kept: the same report to the letter, and to the number.
        let mixed = try place.run(["evaluate", "--posteriors", "views.npy", "--json", "mixed.json"])
        let written =
            "written: views.npy, views.npy.json, views.json, views.csv, views.classes.csv, "
            + "views.confusion.csv\n"
        #expect(
            mixed.status == 0
                && mixed.output.replacing("written: mixed.json\n", with: written) == result.output, "\(mixed)"
        )
        #expect(try place.bytes("mixed.json") == place.bytes("views.json"))
        let weighted = try place.run([
            "evaluate", "--posteriors", "views.npy", "--weights", "0,1", "--json", "weighted.json",
        ])
        #expect(weighted.status == 0)
        #expect(try object("weighted.json")["loss"] == rows[7]["loss"])
    }

    @Test func tablesOfTwoRunsJoin() throws {
        for model in ["run", "other"] {
            let result = try place.run([
                "evaluate", "--checkpoint", model, "--data", "set", "--save-posteriors", "\(model).npy",
            ])
            #expect(result.status == 0 && result.output.split(separator: "\n").count == 10, "\(result)")
        }
        let together = try place.run([
            "evaluate", "--checkpoint", "run", "other", "--data", "set", "--json", "together.json",
        ])
        let mixed = try place.run([
            "evaluate", "--posteriors", "run.npy", "other.npy", "--json", "mixed.json",
        ])
        #expect(together.status == 0 && mixed.status == 0, "\(together) \(mixed)")
        for key in ["top1", "loss", "confusion"] {
            #expect(try object("together.json")[key] == object("mixed.json")[key])
        }
    }

    @Test(arguments: [
        Mistake(
            "a scale below the window",
            ["evaluate", "--checkpoint", "run", "--data", "set", "--dense", "--scales", "16,15"], status: 1,
            "a view of 15 pixels is smaller than the first window of run, which needs 16",
            "give larger --scales"),
        Mistake(
            "a scale below the crop", ["evaluate", "--checkpoint", "run", "--data", "set", "--scales", "8"],
            status: 1, "a view of 8 pixels is smaller than the crop of run", "larger --scales, or --dense"),
        Mistake(
            "a scale that no device could hold",
            [
                "predict", "--checkpoint", "run", "set/val", "--dense", "--scales", "16384",
                "--device-memory", "512M",
            ], status: 1,
            "a dense view of run at 16384 pixels needs more memory in one piece than", "smaller --scales"),
        Mistake(
            "scales", ["evaluate", "--checkpoint", "run", "--data", "set", "--scales", "a"], status: 2,
            "--scales", "commas"),
        Mistake(
            "average", ["evaluate", "--checkpoint", "run", "--data", "set", "--average", "x"], status: 2,
            "--average", "posteriors"),
        Mistake(
            "weights", ["evaluate", "--checkpoint", "run", "--data", "set", "--weights", "1,2"], status: 2,
            "--weights 1,2", "1 number of 0"),
        Mistake(
            "no data", ["evaluate", "--checkpoint", "run"], status: 2, "Missing expected argument '--data"),
        Mistake(
            "the second is no checkpoint", ["evaluate", "--checkpoint", "run", "set", "--data", "set"],
            status: 1, "set: no checkpoint in"),
        Mistake(
            "posteriors that are there and are run", ["evaluate", "--posteriors", "a.npy", "--data", "set"],
            status: 2, "--posteriors: no model is run"),
        Mistake(
            "no posteriors", ["evaluate", "--posteriors", "nothing.npy"], status: 1,
            "nothing.npy: opening failed"),
        Mistake(
            "posteriors to nowhere",
            ["evaluate", "--checkpoint", "run", "--data", "set", "--save-posteriors", "no/p.npy"], status: 2,
            "--save-posteriors no/p.npy: there is no folder"),
        Mistake(
            "CSV to a folder", ["evaluate", "--checkpoint", "run", "--data", "set", "--csv", "set"],
            status: 2, "--csv set: this is a folder"),
        Mistake(
            "one file for two outputs",
            [
                "evaluate", "--checkpoint", "run", "--data", "set",
                "--save-posteriors", "p.npy", "--json", "./p.npy.json",
            ], status: 2, "--json would overwrite ./p.npy.json, which --save-posteriors writes"),
        Mistake(
            "no name", ["evaluate", "--checkpoint", "run", "--data", "set", "--json", ""], status: 2,
            "--json: expected a file's name"),
        Mistake(
            "a picture of another kind",
            ["predict", "--checkpoint", "run", "--heat", "ring", "--out", "h.jpg", "a.jpg"], status: 2,
            "--out h.jpg: expected a name that ends in .png"),
        Mistake(
            "an unknown command", ["evalute", "--checkpoint", "run"], status: 2,
            "Unknown command 'evalute'. Did you mean 'evaluate'?"),
        Mistake(
            "heat without a file", ["predict", "--checkpoint", "run", "--heat", "ring", "a.jpg"],
            status: 2, "--out FILE.png"),
        Mistake(
            "a map of two photographs",
            ["predict", "--checkpoint", "run", "--heat", "ring", "--out", "h.png", "a.jpg", "b.jpg"],
            status: 2, "expected one photograph, 2 were given"),
        Mistake(
            "one model to compare", ["compare", "run", "--data", "set", "--out", "never.html"], status: 2,
            "Missing expected argument '<B>'"),
        Mistake(
            "a misspelt option of compare",
            ["compare", "run", "other", "--data", "set", "--out", "never.html", "--picures", "3"],
            status: 2, "Unknown option '--picures'"),
        Mistake(
            "averages of one window",
            ["evaluate", "--checkpoint", "run", "--data", "set", "--average", "posteriors"], status: 2,
            "--average posteriors: expected --dense too"),
        Mistake(
            "a page to nowhere", ["compare", "run", "other", "--data", "set", "--out", "no/page.html"],
            status: 2, "--out no/page.html: there is no folder"),
    ]) func mistakes(_ mistake: Mistake) throws {
        let result = try place.run(mistake.arguments)
        #expect(result.status == mistake.status, "\(result)")
        let message = result.errors.split(separator: "\n").joined(separator: " ")
        for part in mistake.message { #expect(message.contains(part), "'\(part)' is not in: \(message)") }
        #expect(!message.contains("Fatal error"), "\(message)")
    }

    /// A damaged photograph is named and left out; the others are counted.
    @Test func damagedPhotographs() throws {
        try FileManager.default.copyItem(atPath: place.path + "/set", toPath: place.path + "/damaged")
        defer { try? FileManager.default.removeItem(atPath: place.path + "/damaged") }
        let good = try place.photograph("ring")
        let bad = good.replacing("set/", with: "damaged/")
        _ = try place.file(bad, Array(try place.bytes(good).prefix(300)))
        let result = try place.run([
            "evaluate", "--checkpoint", "run", "other", "--data", "damaged", "--dense",
        ])
        #expect(
            result.status == 1 && result.errors.contains("left out: \(bad): truncated")
                && result.output.contains("11 images"), "\(result)")
        let compared = try place.run([
            "compare", "run", "other", "--data", "damaged", "--out", "damaged.html",
        ])
        #expect(
            compared.status == 1 && compared.errors.contains("left out: \(bad): truncated"), "\(compared)")
        #expect(place.exists("damaged.html"))

        let names = try FileManager.default.subpathsOfDirectory(atPath: place.path + "/damaged/val").filter {
            $0.hasSuffix(".jpg")
        }
        for name in names { _ = try place.file("damaged/val/" + name, "nothing") }
        for arguments in [
            ["evaluate", "--checkpoint", "run", "--data", "damaged", "--save-posteriors", "none.npy"],
            ["compare", "run", "other", "--data", "damaged", "--out", "none.html"],
        ] {
            let result = try place.run(arguments)
            #expect(
                result.status == 1
                    && result.errors.contains("damaged: none of the 12 photographs could be read"),
                "\(result)")
        }
        #expect(!place.exists("none.npy") && !place.exists("none.html"))
    }

    /// A weight of 0 leaves a model out of the mean, and every row is a number.
    @Test func weightsOfNothing() throws {
        let result = try place.run([
            "evaluate", "--checkpoint", "run", "other", "--data", "set", "--dense", "--mirror", "--weights",
            "0,1", "--json", "zero.json",
        ])
        #expect(result.status == 0 && !result.output.contains("nan"), "\(result)")
        let text = String(decoding: try place.bytes("zero.json"), as: UTF8.self)
        #expect(!text.contains("\"loss\":null"), "\(text)")
    }

    /// The names of another array are refused.
    @Test func posteriorsOfAnotherRun() throws {
        for (run, file) in [("run", "one.npy"), ("other", "two.npy")] {
            let result = try place.run([
                "evaluate", "--checkpoint", run, "--data", "set", "--save-posteriors", file,
            ])
            try #require(result.status == 0, "\(result)")
        }
        _ = try place.file("mixed.npy", try place.bytes("two.npy"))
        _ = try place.file("mixed.npy.json", try place.bytes("one.npy.json"))
        for (path, found) in [
            ("one.npy.json", "the names of an array"), ("run/config.yaml", "a file of a run"),
        ] {
            let before = try place.bytes(path)
            let slip = try place.run(["evaluate", "--posteriors", "one.npy", "--json", path])
            #expect(
                slip.status == 2 && slip.errors.contains(found) && slip.errors.contains("not overwritten"),
                "\(slip)")
            #expect(try place.bytes(path) == before)
        }
        let weights = try place.run(["evaluate", "--posteriors", "one.npy", "--weights", "1,2"])
        #expect(
            weights.status == 1 && weights.errors.contains("--weights 1,2: expected 1 number of 0 or more"),
            "\(weights)")
        let mixed = try place.run(["evaluate", "--posteriors", "mixed.npy"])
        #expect(mixed.status == 1 && mixed.errors.contains("the names of another array"), "\(mixed)")
        let text = String(decoding: try place.bytes("one.npy.json"), as: UTF8.self)
        _ = try place.file("more.npy", try place.bytes("one.npy"))
        _ = try place.file("more.npy.json", text.replacing(#""models":["#, with: #""models":["nobody","#))
        let more = try place.run(["evaluate", "--posteriors", "more.npy"])
        #expect(more.status == 1 && more.errors.contains("a model without a view"), "\(more)")
    }

    /// Inputs are not overwritten, and links are followed.
    @Test func outputsSpareInputs() throws {
        let photograph = try place.photograph("ring")
        let before = try place.bytes(photograph)
        let slip = try place.run(["predict", "--checkpoint", "run", "--json", photograph, photograph])
        #expect(
            slip.status == 2 && slip.errors.contains("this is a photograph and is not overwritten"), "\(slip)"
        )
        #expect(try place.bytes(photograph) == before)
        _ = try place.file("target.json", "old")
        try? FileManager.default.createSymbolicLink(
            atPath: place.path + "/link.json", withDestinationPath: "target.json")
        let linked = try place.run([
            "evaluate", "--checkpoint", "run", "--data", "set", "--json", "link.json",
        ])
        #expect(linked.status == 0, "\(linked)")
        #expect(
            try FileManager.default.destinationOfSymbolicLink(atPath: place.path + "/link.json")
                == "target.json")
        #expect(String(decoding: try place.bytes("target.json"), as: UTF8.self).contains("top1"))
    }

    @Test func modelsThatAreNone() throws {
        let velocities = try place.run([
            "predict", "--checkpoint", "run/checkpoints/last/optimizer.safetensors",
            try place.photograph("ring"),
        ])
        #expect(
            velocities.status == 1 && velocities.errors.contains("the optimiser's velocities"),
            "\(velocities)")
        let folder = try place.run(["predict", "--checkpoint", "run", "other"])
        #expect(
            folder.status == 1 && folder.errors.contains("other: no .jpg or .jpeg file in this folder"),
            "\(folder)")
        let frozen = try place.run([
            "train", "--data", "set", "--init", "run", "--freeze", "features", "--model", "32,M,F16",
            "--image-size", "16", "--batch", "8", "--out", "frozen",
        ])
        #expect(
            frozen.status == 1 && frozen.errors.contains("features.0.weight of '32,M,F16' is not in --init"),
            "\(frozen)")
        #expect(!place.exists("frozen"))
    }

    /// A model that knows none of the classes is refused, since its accuracy would mean nothing.
    @Test func aModelOfOtherClasses() throws {
        let photograph = try place.bytes(try place.photograph("ring"))
        for index in 0..<24 {
            _ = try place.file("foreign/\(index % 2 == 0 ? "left" : "right")/\(index).jpg", photograph)
        }
        let trained = try place.train("--data", "foreign", "--out", "stranger")
        try #require(trained.status == 0, "\(trained)")
        let result = try place.run(["evaluate", "--checkpoint", "run", "stranger", "--data", "set"])
        #expect(
            result.status == 1 && result.errors.contains("stranger knows none of the classes in set"),
            "\(result)")
    }

    /// If the names cannot be written, the existing array stays too.
    @Test func fullDiskLeavesWhatWasThere() throws {
        let first = try place.run([
            "evaluate", "--checkpoint", "run", "--data", "set", "--save-posteriors", "kept.npy",
        ])
        try #require(first.status == 0, "\(first)")
        let before = try place.bytes("kept.npy") + place.bytes("kept.npy.json")
        // The array takes 272 bytes, its names more than a block.
        let second = try place.run(
            ["evaluate", "--checkpoint", "other", "--data", "set", "--save-posteriors", "kept.npy"],
            fileBlocks: 1)
        #expect(
            second.status == 1 && second.errors.contains("kept.npy.json: writing failed: File too large"),
            "\(second)")
        #expect(try place.bytes("kept.npy") + place.bytes("kept.npy.json") == before)
    }

    /// A folder's photographs are listed in order, as a table.
    @Test func predictFolder() throws {
        let result = try place.run([
            "predict", "--checkpoint", "run", "--checkpoint", "other", "set/val", "--top", "1", "--csv",
            "sorted.csv", "--weights", "0,1",
        ])
        #expect(result.status == 0, "\(result)")
        let lines = String(decoding: try place.bytes("sorted.csv"), as: UTF8.self).split(separator: "\n")
        #expect(
            lines.count == 13 && lines[0] == "file,class,probability,error" && lines[1].hasPrefix("set/val/"))
        // A model of weight 0 is not heard.
        let bad = try place.file("some/bad.jpg", "nothing")
        _ = try place.file("some/deep/good.JPG", try place.bytes(try place.photograph("ring")))
        let some = try place.run([
            "predict", "--checkpoint", "run", "some", "--top", "1", "--csv", "some.csv",
        ])
        let table = String(decoding: try place.bytes("some.csv"), as: UTF8.self).split(separator: "\n")
        #expect(
            some.status == 1 && some.output.contains("written: some.csv") && table.count == 3,
            "\(some) \(table) \(bad)")
        #expect(
            table[1].hasPrefix("some/bad.jpg,,,") && table[2].hasPrefix("some/deep/good.JPG,"), "\(table)")
        let alone = try place.run([
            "predict", "--checkpoint", "other", "set/val", "--top", "1", "--csv", "alone.csv",
        ])
        #expect(try alone.status == 0 && place.bytes("alone.csv") == place.bytes("sorted.csv"))
    }

    /// A folder that no model has learnt from can be split as by `train`, used whole, or consist of val/.
    @Test func photographsOfAnotherFolder() throws {
        let fresh = place.path + "/fresh"
        try FileManager.default.copyItem(atPath: place.path + "/set/train", toPath: fresh)
        let part = try place.run([
            "evaluate", "--checkpoint", "run", "--data", "fresh", "--val-fraction", "0.5",
        ])
        #expect(
            part.status == 0
                && part.output.contains(
                    "of the 48 photographs in fresh: a share of 0.5 (--val-fraction 1 takes all)"),
            "\(part)")
        #expect(part.output.contains("if these are the same, they have learnt from the others"), "\(part)")
        let whole = try place.run([
            "evaluate", "--checkpoint", "run", "--data", "fresh", "--val-fraction", "1",
        ])
        #expect(
            whole.status == 0 && whole.output.contains("48 images: top-1")
                && !whole.output.contains("holds out"), "\(whole)")
        try FileManager.default.createDirectory(
            atPath: place.path + "/only", withIntermediateDirectories: false)
        try FileManager.default.moveItem(atPath: fresh, toPath: place.path + "/only/val")
        let only = try place.run(["evaluate", "--checkpoint", "run", "--data", "only"])
        // All but the warning, which a validation folder has no need of.
        #expect(
            only.status == 0 && whole.output.hasSuffix(only.output) && only.output.hasPrefix("48 images"),
            "\(only) \(whole)")
    }

    /// A full disk leaves no incomplete file.
    @Test func fullDisk() throws {
        for (arguments, file) in [
            (
                [
                    "evaluate", "--checkpoint", "run", "--data",
                    "set", "--dense", "--mirror", "--save-posteriors",
                ], "full.npy"
            ), (["compare", "run", "other", "--data", "set", "--out"], "full.html"),
        ] {
            let result = try place.run(arguments + [file], fileBlocks: 2)
            #expect(
                result.status == 1 && result.errors.contains(file)
                    && result.errors.contains(": writing failed: File too large"), "\(result)")
            #expect(!place.exists(file) && !place.exists(file + ".json"))
        }
    }

    @Test func predictSideBySide() throws {
        let photograph = try place.photograph("ring")
        let result = try place.run([
            "predict", "--checkpoint", "run", "--checkpoint", "other", "--top", "2", photograph, "--json",
            "side.json", "--heat", "ring", "--out", "heat.png",
        ])
        #expect(result.status == 0, "\(result.errors)")
        let lines = result.output.split(separator: "\n")
        #expect(
            lines.count == 6 && lines[4] == "written: side.json"
                && lines[5].hasPrefix("written: heat.png, from dark blue where the posterior of ring is 0"))
        #expect(lines[1].contains("run") && lines[1].contains("other") && lines[1].contains("mean"))
        let answer = list(try object("side.json"))[0]
        guard case .object(let members) = answer else {
            Issue.record("not an object")
            return
        }
        #expect(members.map(\.key) == ["file", "top", "models"])
        func probability(_ entries: [JSON], _ name: String) -> Double {
            guard
                case .number(let value)? = entries.first(where: { text($0["class"]) == name })?["probability"]
            else { return .nan }
            return value
        }
        let models = list(answer["models"])
        #expect(models.map { text($0["checkpoint"]) } == ["run", "other"])
        let all = try place.run([
            "predict", "--checkpoint", "run", "--checkpoint",
            "other", "--top", "3", photograph, "--json", "side.json",
        ])
        #expect(all.status == 0)
        let whole = list(try object("side.json"))[0]
        let lists = list(whole["models"]).map { list($0["top"]) }
        for entry in list(whole["top"]) {
            let name = text(entry["class"])
            let mean = lists.reduce(0) { $0 + probability($1, name) } / 2
            // Rounded to single precision.
            #expect(abs(probability([entry], name) - mean) < 1e-6, "\(name)")
        }
        #expect(try place.bytes("heat.png").prefix(4) == [0x89, 0x50, 0x4E, 0x47])
        let unknown = try place.run([
            "predict", "--checkpoint", "run", photograph, "--heat", "cat", "--out", "never.png",
        ])
        #expect(
            unknown.status == 1 && unknown.errors.contains("cat: no model has a class of this name")
                && unknown.errors.contains("; give one of these to --heat"),
            "\(unknown)")
        #expect(!place.exists("never.png"))
    }

    @Test func aPageOfDifferences() throws {
        let result = try place.run([
            "compare", "run", "other", "--data", "set", "--out", "page.html", "--mirror", "--pictures", "3",
        ])
        #expect(result.status == 0 && result.output.contains("written: page.html"), "\(result)")
        let page = String(decoding: try place.bytes("page.html"), as: UTF8.self)
        #expect(
            page.hasPrefix("<!DOCTYPE html>") && page.hasSuffix("</html>\n")
                && page.contains("<title>run and other on set</title>"))
        #expect(page.contains("crop at 18; crop at 18, mirrored"))
        // Three of the hardest at least, and no more than three for each sheet.
        #expect((3...9).contains(page.split(separator: "data:image/jpeg;base64,/9j/").count - 1))
    }
}
