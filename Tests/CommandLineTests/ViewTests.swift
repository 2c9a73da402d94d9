@testable import Basics
import Foundation
import TestSupport
import Testing

/// `evaluate`, `predict` and `compare` with several views and models.
@Suite(.serialized) struct ViewTests {
    let place: Workplace
    /// A second model with another input size.
    static let other = Swift.Result {
        try Workplace.shared.get().succeed(
            "train --data set --out other --model 16,M,16,M,F16 --image-size 24 --epochs 1 --batch 8")
    }

    init() throws {
        place = try Workplace.shared.get()
        _ = try Self.other.get()
    }

    @Test func everyViewOfTwoModels() throws {
        let result = try place.succeed(
            "evaluate --checkpoint run other --data set --dense --mirror --json views.json --csv views.csv "
                + "--save-posteriors views.npy")
        for part in [
            "12 images: top-1", "single crop", "+ mirror", "+ scales", "all models",
            "views in the order of their gain", "gain (95 %)", "confusion", "class",
        ] { #expect(result.output.contains(part), "'\(part)' is not in \(result.output)") }
        let json = try place.json("views.json")
        let rows = JSON.list(json["rows"])
        #expect(
            rows.map { JSON.text($0["name"]) }
                == Array(repeating: ["single crop", "dense", "+ mirror", "+ scales"], count: 3).flatMap { $0 }
        )
        #expect(
            rows.map { JSON.text($0["model"]) } == Array(repeating: "run", count: 4)
                + Array(repeating: "other", count: 4) + ["", "", "", ""])
        #expect(rows.last?["top1"] == json["top1"] && JSON.list(json["greedy"]).count == 14)
        #expect(JSON.list(json["classes"]).count == 3)
        let csv = try place.text("views.csv").split(separator: "\n")
        try #require(csv.count == 13 && csv[0].hasPrefix("model,name,views,images,top1,"))
        #expect(csv[12].hasPrefix("all models,+ scales,12,12,"))
        let classes = try place.text("views.classes.csv").split(separator: "\n")
        // Three classes of each model and of both; the columns add up to the table's.
        try #require(classes.count == 10 && classes[0] == "model,class,images,top1,top5,loss")
        #expect(classes.contains { $0.hasPrefix("all models,ring,4,") })
        let right = classes[7...9].map { Int($0.split(separator: ",")[3]) ?? -1 }.reduce(0, +)
        #expect(json["top1"] == .number(Double(right) / 12) || json["top1"] == .integer(right / 12))
        let confusion = try place.text("views.confusion.csv").split(separator: "\n").dropFirst()
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
        let mixed = try place.succeed("evaluate --posteriors views.npy --json mixed.json")
        let written =
            "written: views.npy, views.npy.json, views.json, views.csv, views.classes.csv, "
            + "views.confusion.csv\n"
        let measured = "measuring the 12 photographs of 3 classes in set/val, the validation part\n"
        #expect(measured + mixed.output.replacing("written: mixed.json\n", with: written) == result.output)
        #expect(try place.bytes("mixed.json") == place.bytes("views.json"))
        try place.succeed("evaluate --posteriors views.npy --weights 0,1 --json weighted.json")
        #expect(try place.json("weighted.json")["loss"] == rows[7]["loss"])
    }

    @Test func tablesOfTwoRunsJoin() throws {
        for model in ["run", "other"] {
            let result = try place.succeed(
                "evaluate --checkpoint \(model) --data set --save-posteriors \(model).npy")
            #expect(result.output.split(separator: "\n").count == 11, "\(result)")
        }
        try place.succeed("evaluate --checkpoint run other --data set --json together.json")
        try place.succeed("evaluate --posteriors run.npy other.npy --json mixed.json")
        for key in ["top1", "loss", "confusion"] {
            #expect(try place.json("together.json")[key] == place.json("mixed.json")[key])
        }
    }

    @Test(arguments: [
        run(
            "evaluate --checkpoint run --data set --dense --scales 16,15", 1,
            "a view of 15 pixels is smaller than the first window of run, which needs 16",
            "give larger --scales"),
        run(
            "evaluate --checkpoint run --data set --scales 8", 1,
            "a view of 8 pixels is smaller than the crop of run", "larger --scales, or --dense"),
        run(
            "predict --checkpoint run set/val --dense --scales 16384 --device-memory 512M", 1,
            "a dense view of run at 16384 pixels needs more memory in one piece than", "smaller --scales"),
        run("evaluate --checkpoint run --data set --scales a", 2, "--scales", "commas"),
        run("evaluate --checkpoint run --data set --average x", 2, "--average", "posteriors"),
        run("evaluate --checkpoint run --data set --weights 1,2", 2, "--weights 1,2", "1 number of 0"),
        run("evaluate --checkpoint run", 2, "Missing expected argument '--data"),
        run("evaluate --checkpoint run set --data set", 1, "set: no checkpoint in"),
        run("evaluate --posteriors a.npy --data set", 2, "--posteriors: no model is run"),
        run("evaluate --posteriors nothing.npy", 1, "nothing.npy: opening failed"),
        run(
            "evaluate --checkpoint run --data set --save-posteriors no/p.npy", 2,
            "--save-posteriors no/p.npy: there is no folder"),
        run("evaluate --checkpoint run --data set --csv set", 2, "--csv set: this is a folder"),
        run(
            "evaluate --checkpoint run --data set --save-posteriors p.npy --json ./p.npy.json", 2,
            "--json would overwrite ./p.npy.json, which --save-posteriors writes"),
        run("evaluate --checkpoint run --data set --json ''", 2, "--json: expected a file's name"),
        run(
            "predict --checkpoint run --heat ring --out h.jpg a.jpg", 2,
            "--out h.jpg: expected a name that ends in .png"),
        run("evalute --checkpoint run", 2, "Unknown command 'evalute'. Did you mean 'evaluate'?"),
        run("predict --checkpoint run --heat ring a.jpg", 2, "--out FILE.png"),
        run(
            "predict --checkpoint run --heat ring --out h.png a.jpg b.jpg", 2,
            "expected one photograph, 2 were given"),
        run("compare run --data set --out never.html", 2, "Missing expected argument '<B>'"),
        run("compare run other --data set --out never.html --picures 3", 2, "Unknown option '--picures'"),
        run(
            "evaluate --checkpoint run --data set --average posteriors", 2,
            "--average posteriors: expected --dense too"),
        run("compare run other --data set --out no/page.html", 2, "--out no/page.html: there is no folder"),
    ]) func mistakes(_ mistake: Mistake) throws { try place.expect(mistake) }

    /// A damaged photograph is named and left out; the others are counted.
    @Test func damagedPhotographs() throws {
        try FileManager.default.copyItem(atPath: place.path + "/set", toPath: place.path + "/damaged")
        defer { try? FileManager.default.removeItem(atPath: place.path + "/damaged") }
        let good = try place.photograph("ring")
        let bad = good.replacing("set/", with: "damaged/")
        try place.file(bad, Array(try place.bytes(good).prefix(300)))
        let result = try place.expect(
            run(
                "evaluate --checkpoint run other --data damaged/val --dense", 1,
                "left out: \(bad): truncated"))
        #expect(result.output.contains("11 images"), "\(result)")
        try place.expect(
            run("compare run other --data damaged/val --out damaged.html", 1, "left out: \(bad): truncated"))
        #expect(place.exists("damaged.html"))

        let names = try FileManager.default.subpathsOfDirectory(atPath: place.path + "/damaged/val").filter {
            $0.hasSuffix(".jpg")
        }
        for name in names { try place.file("damaged/val/" + name, "nothing") }
        for line in [
            "evaluate --checkpoint run --data damaged/val --save-posteriors none.npy",
            "compare run other --data damaged/val --out none.html",
        ] { try place.expect(run(line, 1, "damaged/val: none of the 12 photographs could be read")) }
        #expect(!place.exists("none.npy") && !place.exists("none.html"))
    }

    /// A weight of 0 leaves a model out of the mean, and every row is a number.
    @Test func weightsOfNothing() throws {
        let result = try place.succeed(
            "evaluate --checkpoint run other --data set --dense --mirror --weights 0,1 --json zero.json")
        #expect(!result.output.contains("nan"), "\(result)")
        let text = try place.text("zero.json")
        #expect(!text.contains("\"loss\":null"), "\(text)")
    }

    /// The names of another array are refused.
    @Test func posteriorsOfAnotherRun() throws {
        for (model, file) in [("run", "one.npy"), ("other", "two.npy")] {
            try place.succeed("evaluate --checkpoint \(model) --data set --save-posteriors \(file)")
        }
        try place.file("mixed.npy", try place.bytes("two.npy"))
        try place.file("mixed.npy.json", try place.bytes("one.npy.json"))
        for (path, found) in [
            ("one.npy.json", "the names of an array"), ("run/config.yaml", "a file of a run"),
        ] {
            let before = try place.bytes(path)
            try place.expect(run("evaluate --posteriors one.npy --json \(path)", 2, found, "not overwritten"))
            #expect(try place.bytes(path) == before)
        }
        try place.expect(
            run(
                "evaluate --posteriors one.npy --weights 1,2", 1,
                "--weights 1,2: expected 1 number of 0 or more"))
        try place.expect(run("evaluate --posteriors mixed.npy", 1, "the names of another array"))
        let text = try place.text("one.npy.json")
        try place.file("more.npy", try place.bytes("one.npy"))
        try place.file(
            "more.npy.json", text.replacing(#""models":["#, with: #""models":["without views","#))
        try place.expect(run("evaluate --posteriors more.npy", 1, "a model without a view"))
    }

    /// Inputs are not overwritten, and links are followed.
    @Test func outputsSpareInputs() throws {
        let photograph = try place.photograph("ring")
        let before = try place.bytes(photograph)
        try place.expect(
            run(
                "predict --checkpoint run --json \(photograph) \(photograph)", 2,
                "this is a photograph and is not overwritten"))
        #expect(try place.bytes(photograph) == before)
        try place.file("target.json", "old")
        try? FileManager.default.createSymbolicLink(
            atPath: place.path + "/link.json", withDestinationPath: "target.json")
        try place.succeed("evaluate --checkpoint run --data set --json link.json")
        #expect(
            try FileManager.default.destinationOfSymbolicLink(atPath: place.path + "/link.json")
                == "target.json")
        #expect(try place.text("target.json").contains("top1"))
    }

    @Test func modelsThatAreNone() throws {
        try place.expect(
            run(
                "predict --checkpoint run/checkpoints/last/optimizer.safetensors a.jpg", 1,
                "the optimiser's velocities"))
        try place.expect(
            run("predict --checkpoint run other", 1, "other: no photograph in this folder"))
        try place.expect(
            run(
                "--data set --init run --freeze features --model 32,M,F16 --image-size 16 --out never",
                1, "has no features.0.weight that fits '32,M,F16'", "; give the --model"))
    }

    /// A model that knows none of the classes is refused, since its accuracy would mean nothing.
    @Test func aModelOfOtherClasses() throws {
        let photograph = try place.bytes(try place.photograph("ring"))
        for index in 0..<24 {
            try place.file("foreign/\(index % 2 == 0 ? "left" : "right")/\(index).jpg", photograph)
        }
        try place.train("--data foreign --out stranger")
        try place.expect(
            run(
                "evaluate --checkpoint run stranger --data set", 1,
                "stranger knows none of the classes in set"))
    }

    /// If the names cannot be written, the existing array stays too.
    @Test func fullDiskLeavesWhatWasThere() throws {
        try place.succeed("evaluate --checkpoint run --data set --save-posteriors kept.npy")
        let before = try place.bytes("kept.npy") + place.bytes("kept.npy.json")
        // The array takes 272 bytes, its names more than a block.
        try place.expect(
            run(
                "evaluate --checkpoint other --data set --save-posteriors kept.npy", 1,
                "kept.npy.json: writing failed: File too large"), fileBlocks: 1)
        #expect(try place.bytes("kept.npy") + place.bytes("kept.npy.json") == before)
    }

    /// A folder's photographs are listed in order, as a table.
    @Test func predictFolder() throws {
        try place.succeed(
            "predict --checkpoint run --checkpoint other set/val --top 1 --csv sorted.csv --weights 0,1")
        let lines = try place.text("sorted.csv").split(separator: "\n")
        #expect(
            lines.count == 13 && lines[0] == "file,class,probability,error,words"
                && lines[1].hasPrefix("set/val/"))
        // A model of weight 0 is not heard.
        try place.file("some/bad.jpg", "nothing")
        try place.file("some/deep/good.JPG", try place.bytes(try place.photograph("ring")))
        let some = try place.expect(run("predict --checkpoint run some --top 1 --csv some.csv", 1))
        let table = try place.text("some.csv").split(separator: "\n")
        try #require(some.output.contains("written: some.csv") && table.count == 3, "\(some) \(table)")
        #expect(
            table[1].hasPrefix("some/bad.jpg,,,") && table[2].hasPrefix("some/deep/good.JPG,"), "\(table)")
        try place.succeed("predict --checkpoint other set/val --top 1 --csv single.csv")
        #expect(try place.bytes("single.csv") == place.bytes("sorted.csv"))
    }

    /// A folder that no model has learnt from can be split as by `train`, used whole, or consist of val/.
    @Test func photographsOfAnotherFolder() throws {
        let fresh = place.path + "/fresh"
        try FileManager.default.copyItem(atPath: place.path + "/set/train", toPath: fresh)
        let part = try place.succeed("evaluate --checkpoint run --data fresh --val-fraction 0.5")
        #expect(
            part.output.hasPrefix("measuring 24 of the 48 photographs in fresh: a share of 0.5\n"),
            "\(part)")
        let whole = try place.succeed("evaluate --checkpoint run --data fresh --val-fraction 1")
        #expect(whole.output.contains("48 images: top-1"), "\(whole)")
        #expect(!whole.output.contains("held out"), "\(whole)")
        try place.makeFolder("only")
        try FileManager.default.moveItem(atPath: fresh, toPath: place.path + "/only/val")
        let only = try place.succeed("evaluate --checkpoint run --data only").output
        func figures(_ text: String) -> ArraySlice<Substring> { text.split(separator: "\n").dropFirst() }
        #expect(figures(whole.output) == figures(only) && only.contains("in only/val\n"), "\(only) \(whole)")
    }

    /// A full disk leaves no incomplete file.
    @Test func fullDisk() throws {
        for (line, file) in [
            ("evaluate --checkpoint run --data set --dense --mirror --save-posteriors", "full.npy"),
            ("compare run other --data set --out", "full.html"),
        ] {
            try place.expect(
                run("\(line) \(file)", 1, file, ": writing failed: File too large"), fileBlocks: 2)
            #expect(!place.exists(file) && !place.exists(file + ".json"))
        }
    }

    @Test func predictSideBySide() throws {
        let photograph = try place.photograph("ring")
        let result = try place.succeed(
            "predict --checkpoint run --checkpoint other --top 2 \(photograph) --json side.json --heat ring "
                + "--out heat.png")
        let lines = result.output.split(separator: "\n")
        try #require(lines.count == 6 && lines[4] == "written: side.json")
        #expect(lines[5].hasPrefix("written: heat.png, from dark blue where the posterior of ring is 0"))
        #expect(lines[1].contains("run") && lines[1].contains("other") && lines[1].contains("mean"))
        let answer = JSON.list(try place.json("side.json"))[0]
        #expect(answer.keys == ["file", "top", "models"])
        func probability(_ entries: [JSON], _ name: String) -> Double {
            JSON.number(entries.first { JSON.text($0["class"]) == name }?["probability"])
        }
        let models = JSON.list(answer["models"])
        #expect(models.map { JSON.text($0["checkpoint"]) } == ["run", "other"])
        try place.succeed(
            "predict --checkpoint run --checkpoint other --top 3 \(photograph) --json side.json")
        let whole = JSON.list(try place.json("side.json"))[0]
        let lists = JSON.list(whole["models"]).map { JSON.list($0["top"]) }
        for entry in JSON.list(whole["top"]) {
            let name = JSON.text(entry["class"])
            let mean = lists.reduce(0) { $0 + probability($1, name) } / 2
            // Rounded to single precision.
            #expect(abs(probability([entry], name) - mean) < 1e-6, "\(name)")
        }
        #expect(try place.bytes("heat.png").prefix(4) == [0x89, 0x50, 0x4E, 0x47])
        try place.expect(
            run(
                "predict --checkpoint run \(photograph) --heat cat --out never.png", 1,
                "cat: no model has a class of this name", "; give one of these to --heat"))
        #expect(!place.exists("never.png"))
    }

    @Test func aPageOfDifferences() throws {
        let result = try place.succeed("compare run other --data set --out page.html --mirror --pictures 3")
        #expect(result.output.contains("written: page.html"), "\(result)")
        let page = try place.text("page.html")
        #expect(page.hasPrefix("<!DOCTYPE html>") && page.hasSuffix("</html>\n"))
        #expect(page.contains("<title>run and other on set</title>"))
        #expect(page.contains("crop at 18; crop at 18, mirrored"))
        // Three of the hardest at least, and no more than three for each sheet.
        #expect((3...9).contains(page.split(separator: "data:image/jpeg;base64,/9j/").count - 1))
    }
}
