import Basics
import Foundation
import Models
import Runs
import TestSupport
import Testing

/// Tests `inspect`, words for classes, and what a run says about its input.
@Suite(.serialized) struct PhotographCommandTests {
    private let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    /// The page and the JSON hold what the terminal shows.
    @Test func inspect() throws {
        let files = FileManager.default
        try files.copyItem(atPath: place.file("set"), toPath: place.file("inspected"))
        try place.file("inspected/train/ring/copy<b>.jpg", place.bytes(place.photograph("ring")))
        try place.file("inspected/train/ring/broken.jpg", "no picture")
        let result = try place.succeed("inspect inspected --out page.html --json inspected.json --workers 2")
        #expect(result.output.hasPrefix("62 photographs of 3 classes: 50 train, 12 val"), "\(result.output)")
        #expect(result.output.contains("look at: 1 photograph cannot be read"))
        #expect(result.output.contains("look at: 1 photograph is in both parts, “train” and “val”"))
        #expect(result.output.contains("broken.jpg: not a JPEG"))
        let json = try place.json("inspected.json")
        #expect(json["photographs"]?.integer == 62 && json["readable"]?.integer == 61)
        #expect(json["copies_across_parts"]?.integer == 1 && json["exact_copies"]?.integer == 1)
        let ring = JSON.list(json["classes"]).first { $0["name"]?.string == "ring" }
        #expect(ring?["photographs"] == ["train": 18, "val": 4])
        #expect(JSON.list(json["unreadable"]).count == 1)
        let page = try place.text("page.html")
        for part in [
            "In both parts", "Unreadable files", "copy&lt;b&gt;.jpg", "data:image/jpeg;base64,", "ring",
        ] {
            #expect(page.contains(part), "\(part)")
        }
        #expect(!page.contains("copy<b>") && !page.contains("://"), "the page needs no other file")
        #expect(page.components(separatedBy: "<img").count >= 5)
        for mistake in [
            run("inspect inspected --out page.png", 2, "--out page.png: expected a name that ends in .html"),
            run("inspect set --val-fraction 1", 2, "--val-fraction 1.0: expected at least 0 and below 1"),
            run("inspect none", 1, "none: no such folder"),
        ] { try place.expect(mistake) }
    }

    /// Words of the files beside the photographs are kept with the model, and shown beside the classes.
    @Test func words() throws {
        try FileManager.default.copyItem(atPath: place.file("set"), toPath: place.file("worded"))
        try place.file("worded/LOC_synset_mapping.txt", "ring a ring, a thing\nstriped-disc disc\n")
        try place.train("--data worded --out worded-run")
        let photograph = try place.photograph("ring")
        let result = try place.succeed("predict --checkpoint worded-run --json words.json \(photograph)")
        #expect(result.output.contains("ring a ring, a thing\n"), "\(result.output)")
        #expect(result.output.contains("striped-disc disc\n"))
        let top = JSON.list(JSON.list(try place.json("words.json")).first?["top"])
        let words = Dictionary(
            uniqueKeysWithValues: top.map { (JSON.text($0["class"]), $0["words"]?.string) })
        #expect(words == ["ring": "a ring, a thing", "striped-disc": "disc", "checkered-square": nil])
        // The weights are those without words.
        #expect(try place.metadata("run", "class_words") == nil)
        #expect(
            try place.tensor("worded-run/checkpoints/last/model.safetensors", "classifier.0.weight")
                == place.tensor("run/checkpoints/last/model.safetensors", "classifier.0.weight"))
    }

    /// A model whose classes are numbers, as torchvision's, takes the names of a set's classes in order.
    @Test func numberedClasses() throws {
        let model = try SafetensorsFile.read(place.file("run/checkpoints/last/model.safetensors"))
        try SafetensorsFile.write(
            place.file("numbered.safetensors"), shapes: model.tensors.mapValues(\.shape), metadata: [:]
        ) { try model.floats($0) }
        let photograph = try place.photograph("ring")
        let bare = try place.succeed("predict --checkpoint numbered.safetensors \(photograph)")
        #expect(bare.output.contains("class 0") && bare.output.contains("class 2"), "\(bare.output)")
        let evaluated = try place.succeed("evaluate --checkpoint numbered.safetensors --data set/val")
        #expect(evaluated.output.contains("its 3 classes are numbers, taken as those of the photographs"))
        #expect(evaluated.output.contains("12 images: top-1"))
        try place.succeed("prepare set --out named --short-side 32")
        try place.file("list.txt", "checkered-square\tcs\nring\tan annulus\nstriped-disc\n")
        for classes in ["named", "named/manifest.json", "set", "list.txt"] {
            let named = try place.succeed(
                "predict --checkpoint numbered.safetensors --classes \(classes) \(photograph)")
            #expect(
                named.output.contains("striped-disc\n") && !named.output.contains("class 0"), "\(classes)")
            #expect(named.output.contains("ring an annulus") == (classes == "list.txt"))
        }
        try place.file("short.txt", "a\nb\n")
        try place.file("twice.txt", "a\na\nb\n")
        let line = "predict --checkpoint numbered.safetensors \(photograph) --classes"
        for mistake in [
            run("\(line) short.txt", 1, "--classes short.txt: names 2 classes, and", "has 3"),
            run("\(line) twice.txt", 1, "twice.txt: expected the name of each class once"),
            run("\(line) nothing.txt", 1, "nothing.txt: no such file"),
        ] { try place.expect(mistake) }
    }

    /// An epoch that waits for photographs is reported, with what the threads did meanwhile.
    @Test func inputBound() throws {
        func bound(wait: Double, seconds: Double = 100, loader: Double = 0) -> InputBound? {
            InputBound(
                StepTimes(steps: 50, seconds: seconds, waitSeconds: wait, loaderSeconds: loader), workers: 4)
        }
        #expect(bound(wait: 10) == nil && bound(wait: 1, seconds: 4) == nil)
        let disk = try #require(bound(wait: 40, loader: 40))
        #expect(disk.wait == 0.4 && abs(disk.busy - 0.1) < 1e-9 && !disk.isComputing)
        let computing = try #require(bound(wait: 40, loader: 500))
        #expect(computing.busy == 1 && computing.isComputing)
    }

    /// The input is timed from files and from archives.
    @Test func benchmarkOfArchives() throws {
        try place.succeed("prepare set --out timed --short-side 32")
        for data in ["set", "timed"] {
            try place.succeed(
                "bench input --data \(data) --image-size 16 --short-side 16 --batch 8 --images 16 --rounds 1 "
                    + "--device cpu --json input.json")
            let json = try place.json("input.json")
            for pass in ["read", "read_cold", "decode_augment", "decode_augment_cold"] {
                #expect(JSON.number(json[pass]?["images_per_second"]) > 0, "\(data) \(pass)")
            }
        }
    }
}
