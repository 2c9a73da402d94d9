import Foundation
import TestSupport
import Testing

@testable import Photographs

/// One kind of input and its outcome: a row of the table in docs/data.md.
private struct Input: CustomTestStringConvertible, Sendable {
    let number: Int
    let name: String
    /// Files; `cat/*3` stands for three photographs, `a -> b` for a link, `a@png` for a file that begins as
    /// PNG does, and a slash ends a folder.
    let files: [String]
    let labels: String?
    /// The classes, each with its photographs for training and validation, or `error`.
    let outcome: String
    /// Parts of the lines that `train` prints, or of the error.
    let says: [String]

    init(
        _ number: Int, _ name: String, _ files: [String], labels: String? = nil,
        gives outcome: String, says: [String] = []
    ) {
        (self.number, self.name, self.files, self.labels) = (number, name, files, labels)
        (self.outcome, self.says) = (outcome, says)
    }

    var testDescription: String { "\(number) \(name)" }
}

/// Reads every kind of folder and list that docs/data.md names.
@Suite struct InputTests {
    private static let inputs: [Input] = [
        Input(
            1, "class folders", ["cat/*4", "dog/*4"], gives: "cat 3+1, dog 3+1",
            says: ["validation: 2 of 8 photographs"]),
        Input(
            2, "`train/` beside `val/`", ["train/cat/*2", "train/dog/*2", "val/cat/*1", "val/dog/*1"],
            gives: "cat 2+1, dog 2+1", says: ["2 photographs in ROOT/val"]),
        Input(
            3, "`train/` beside `valid/`", ["train/cat/*2", "train/dog/*2", "valid/cat/*1"],
            gives: "cat 2+1, dog 2+0", says: ["1 photographs in ROOT/valid", "“dog”"]),
        Input(
            4, "`train/` beside `validation/`",
            ["train/cat/*2", "train/dog/*2", "validation/cat/*1", "validation/dog/*1"],
            gives: "cat 2+1, dog 2+1", says: ["in ROOT/validation"]),
        Input(
            5, "`train/` beside `dev/`", ["train/cat/*2", "train/dog/*2", "dev/cat/*1", "dev/dog/*1"],
            gives: "cat 2+1, dog 2+1", says: ["in ROOT/dev"]),
        Input(
            6, "`train/` beside `test/` with class folders",
            ["train/cat/*2", "train/dog/*2", "test/cat/*1", "test/dog/*1"], gives: "cat 2+1, dog 2+1",
            says: ["in ROOT/test"]),
        Input(
            7, "`Train/` beside `VAL/`", ["Train/cat/*2", "Train/dog/*2", "VAL/cat/*1", "VAL/dog/*1"],
            gives: "cat 2+1, dog 2+1", says: ["in ROOT/VAL"]),
        Input(
            8, "`Training/` beside `Testing/`",
            ["Training/cat/*2", "Training/dog/*2", "Testing/cat/*1", "Testing/dog/*1"],
            gives: "cat 2+1, dog 2+1", says: ["in ROOT/Testing"]),
        Input(
            9, "`train/`, `val/` and `test/`",
            ["train/cat/*2", "train/dog/*2", "val/cat/*1", "val/dog/*1", "test/cat/*3"],
            gives: "cat 2+1, dog 2+1", says: ["3 files (3 photographs)", "test/cat"]),
        Input(
            10, "only `train/`", ["train/cat/*4", "train/dog/*4"], gives: "cat 3+1, dog 3+1",
            says: ["validation: 2 of 8"]),
        Input(
            11, "class folders beside `val/`", ["cat/*2", "dog/*2", "val/cat/*1", "val/dog/*1"],
            gives: "cat 2+1, dog 2+1", says: ["in ROOT/val"]),
        Input(
            12, "class folders beside a flat `test/`", ["cat/*4", "dog/*4", "test/*3"],
            gives: "cat 3+1, dog 3+1", says: ["3 files (3 photographs)"]),
        Input(
            13, "`train/` beside a flat `test/`", ["train/cat/*4", "train/dog/*4", "test/*3"],
            gives: "cat 3+1, dog 3+1", says: ["3 files (3 photographs)", "in test"]),
        Input(
            14, "`train/` beside `test/unknown/`", ["train/cat/*4", "train/dog/*4", "test/unknown/*3"],
            gives: "cat 3+1, dog 3+1", says: ["3 files (3 photographs)", "test/unknown"]),
        Input(
            15, "`train/` beside a flat `val/`", ["train/cat/*2", "train/dog/*2", "val/*3"], gives: "error",
            says: ["ROOT/val: 3 photographs in it and no class folders"]),
        Input(
            16, "flat `train/` beside `test/`", ["train/*4", "test/*3", "labels.csv"], gives: "error",
            says: ["ROOT/train: 4 photographs in it and no class folders"]),
        Input(
            17, "flat folder", ["*5"], gives: "error",
            says: ["ROOT: 5 photographs in it and no class folders"]),
        Input(
            18, "a class folder called `train` among others", ["train/*2", "bus/*2", "car/*2"],
            gives: "error", says: ["ROOT/train: 2 photographs in it and no class folders"]),
        Input(
            19, "`train_images/` beside `test_images/`", ["train_images/*2", "test_images/*2"],
            gives: "error", says: ["“train_images” and “test_images” are called like parts"]),
        Input(
            20, "`training_set/` beside `test_set/`",
            ["training_set/cat/*2", "training_set/dog/*2", "test_set/cat/*2"], gives: "error",
            says: ["“training_set” and “test_set” are called like parts"]),
        Input(
            21, "`train/` beside `Train/`", ["train/cat/*2", "Train/cat/*2"], gives: "error",
            says: ["has the folders “Train”, “train”"]),
        Input(
            22, "only `val/`", ["val/cat/*2", "val/dog/*2"], gives: "error",
            says: ["no photographs to train on"]),
        Input(
            23, "one folder too high", ["photos/cat/*2", "photos/dog/*2"], gives: "error",
            says: ["only one class, “photos”, with the folders “cat”, “dog” in it"]),
        Input(24, "one class", ["cat/*2"], gives: "error", says: ["only one class, “cat”"]),
        Input(25, "empty folder", ["/"], gives: "error", says: ["no class folders in it"]),
        Input(
            26, "empty class folder", ["cat/*2", "dog/"], gives: "error", says: ["ROOT/dog: an empty class"]),
        Input(
            27, "class in `val/` that `train/` lacks", ["train/cat/*2", "train/dog/*2", "val/cow/*1"],
            gives: "error", says: ["class “cow” is not in ROOT/train"]),
        Input(
            28, "folders within a class", ["cat/*2", "cat/more/*1", "cat/more/deep/*1", "dog/*4"],
            gives: "cat 3+1, dog 3+1"),
        Input(
            29, "photographs beside the class folders", ["cat/*4", "dog/*4", "*2"], gives: "cat 3+1, dog 3+1",
            says: ["2 photographs outside class folders, in the folder itself"]),
        Input(
            30, "photographs beside the class folders of `train/`",
            ["train/cat/*4", "train/dog/*4", "train/*2"], gives: "cat 3+1, dog 3+1",
            says: ["2 photographs outside class folders, in train"]),
        Input(
            31, "other folders beside `train/`",
            ["train/cat/*4", "train/dog/*4", "notes/1.xml", "notes/2.xml", "notes/3.jpg"],
            gives: "cat 3+1, dog 3+1",
            says: ["3 files (2 .xml, 1 photographs) in folders that are no part of the set, in notes"]),
        Input(
            32, "files of other kinds in a class",
            ["cat/*4", "dog/*4", "cat/a.txt", "cat/b.txt", "dog/c.xml"], gives: "cat 3+1, dog 3+1",
            says: ["3 files of kinds that are not read (2 .txt, 1 .xml), in cat, dog"]),
        Input(
            33, "hidden files and folders",
            ["cat/*4", "dog/*4", "cat/.a.jpg", ".git/1.jpg", "cat/.ipynb_checkpoints/1.jpg"],
            gives: "cat 3+1, dog 3+1", says: ["3 hidden or system entries"]),
        Input(
            34, "`__MACOSX`, `@eaDir`, `Thumbs.db`, `desktop.ini`",
            [
                "cat/*4", "dog/*4", "__MACOSX/cat/1.jpg",
                "cat/@eaDir/1.jpg", "cat/Thumbs.db", "dog/desktop.ini",
            ], gives: "cat 3+1, dog 3+1", says: ["4 hidden or system entries"]),
        Input(
            35, "`lost+found`, `$RECYCLE.BIN`, `#recycle`",
            ["cat/*4", "dog/*4", "lost+found/1.jpg", "$RECYCLE.BIN/1.jpg", "#recycle/1.jpg"],
            gives: "cat 3+1, dog 3+1", says: ["3 hidden or system entries"]),
        Input(
            36, "class folder that is a link", ["dog/*4", "cat -> ../out", "../out/*4"],
            gives: "cat 3+1, dog 3+1"),
        Input(
            37, "link to a folder above", ["cat/*4", "dog/*4", "cat/up -> ..", "dog/here -> ."],
            gives: "cat 3+1, dog 3+1", says: ["2 links to what is listed already: cat/up, dog/here"]),
        Input(
            38, "link to another class's folder", ["cat/*4", "dog/*4", "kitten -> cat"], gives: "error",
            says: ["ROOT/kitten: an empty class"]),
        Input(
            39, "link to a photograph that is listed", ["cat/*4", "dog/*4", "cat/again.jpg -> 1.jpg"],
            gives: "cat 3+1, dog 3+1", says: ["1 link to what is listed already: cat/again.jpg"]),
        Input(
            40, "link to a photograph elsewhere",
            ["cat/*3", "dog/*4", "cat/4.jpg -> ../../out/1.jpg", "../out/*1"], gives: "cat 3+1, dog 3+1"),
        Input(
            41, "`val` as a link to `train`", ["train/cat/*4", "train/dog/*4", "val -> train"],
            gives: "cat 3+1, dog 3+1", says: ["1 link to what is listed already: val"]),
        Input(
            42, "link to nothing", ["cat/*4", "dog/*4", "cat/gone -> nowhere"], gives: "cat 3+1, dog 3+1",
            says: ["1 link to nothing: cat/gone"]),
        Input(
            43, "class with one photograph", ["cat/*4", "dog/*1"], gives: "cat 3+1, dog 1+0",
            says: [
                "no photograph of class “dog” is held out",
                "a class with one photograph keeps it for training",
            ]),
        Input(
            44, "only classes with one photograph", ["a/*1", "b/*1", "c/*1"], gives: "a 1+0, b 1+0, c 1+0",
            says: ["validation: none of the 3 photographs"]),
        Input(45, "many small classes", ["a/*2", "b/*2", "c/*3"], gives: "a 1+1, b 1+1, c 2+1"),
        Input(
            46, "class name in two Unicode forms", ["caf\u{E9}/*2", "cafe\u{301}/*2", "dog/*4"],
            gives: "caf\u{E9} 3+1, dog 3+1",
            says: ["is two folders, whose names differ only in their Unicode form"]),
        Input(
            47, "class names that differ in case", ["Cat/*4", "cat/*4"], gives: "Cat 3+1, cat 3+1",
            says: ["differ only in upper and lower case"]),
        Input(
            48, "list with a header", ["*4"], labels: "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n",
            gives: "cat 1+1, dog 1+1"),
        Input(
            49, "list without a header", ["*4"], labels: "1.jpg,cat\n2.jpg,cat\n3.jpg,dog\n4.jpg,dog\n",
            gives: "cat 1+1, dog 1+1"),
        Input(
            50, "list with the class first", ["*4"], labels: "breed,image\ncat,1\ncat,2\ndog,3\ndog,4\n",
            gives: "cat 1+1, dog 1+1"),
        Input(
            51, "list with folders", ["train/*2", "more/*2"],
            labels: "image,breed\ntrain/1.jpg,cat\ntrain/2.jpg,dog\nmore/1.jpg,dog\nmore/2.jpg,cat\n",
            gives: "cat 1+1, dog 1+1"),
        Input(
            52, "list with another machine's folders", ["*4"],
            labels:
                "file,class\n/home/me/p/1.jpg,cat\n/home/me/p/2.jpg,cat\nC:\\p\\3.jpg,dog\nC:\\p\\4.jpg,dog\n",
            gives: "cat 1+1, dog 1+1"),
        Input(
            53, "list with quotation marks, BOM and CRLF", ["*4"],
            labels:
                "\u{FEFF}\"id\",\"label\"\r\n\"1\",\"cat, tame\"\r\n2,\"cat, tame\"\r\n"
                + "3,\"say \"\"dog\"\"\"\r\n4,\"say \"\"dog\"\"\"\r\n",
            gives: "cat, tame 1+1, say \"dog\" 1+1"),
        Input(
            54, "list with semicolons or tabs", ["*4"], labels: "id;label\n1;cat\n2;cat\n3;dog\n4;dog\n",
            gives: "cat 1+1, dog 1+1"),
        Input(
            55, "list with many columns", ["*4"],
            labels: "image_id,age,dx,sex\n1,7,cat,f\n2,9,cat,m\n3,7,dog,f\n4,8,dog,m\n",
            gives: "cat 1+1, dog 1+1"),
        Input(
            56, "list with a column of 0 and 1 for each class", ["*4"],
            labels: "image,cat,dog\n1,1.0,0.0\n2,1.0,0.0\n3,0.0,1.0\n4,0.0,1.0\n", gives: "cat 1+1, dog 1+1"),
        Input(
            57, "list with many columns and no usual name", ["*4"], labels: "image,age,sex\n1,7,f\n2,9,m\n",
            gives: "error", says: ["3 columns (“image”, “age”, “sex”), and none is called class or label"]),
        Input(
            58, "listed files that are not on disk", ["*4"],
            labels: "1,cat\n2,cat\n3,dog\n4,dog\n98,dog\n99,dog\n", gives: "cat 1+1, dog 1+1",
            says: ["2 names in the list of labels for which there is no photograph: 98, 99"]),
        Input(
            59, "files on disk that are not listed", ["*6"], labels: "1,cat\n2,cat\n3,dog\n4,dog\n",
            gives: "cat 1+1, dog 1+1",
            says: ["2 photographs that the list of labels does not name: 5.jpg, 6.jpg"]),
        Input(
            60, "lines without a class", ["*5"], labels: "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n5,\n",
            gives: "cat 1+1, dog 1+1", says: ["1 line of the list of labels without a class: line 6"]),
        Input(
            61, "list of other files", ["*4"], labels: "id,label\n98,cat\n99,dog\n", gives: "error",
            says: ["none of its 2 files (“98”, “99”) is among the 4 photographs"]),
        Input(
            62, "one file with two classes", ["*4"], labels: "1,cat\n1,dog\n", gives: "error",
            says: [":2: 1.jpg has the class “dog” here and “cat” before"]),
        Input(
            63, "one name for two files", ["a/*2", "b/*2"], labels: "1,cat\n2,dog\n", gives: "error",
            says: ["“1” may be a/1.jpg or b/1.jpg"]),
        Input(
            64, "list of `train/` and `val/`", ["train/*4", "val/x1.jpg", "val/x2.jpg"],
            labels: "1,cat\n2,cat\n3,dog\n4,dog\nx1,cat\nx2,dog\n", gives: "cat 2+1, dog 2+1"),
        Input(
            65, "list of a flat `train/` beside `test/`", ["train/*4", "test/*4"],
            labels: "id,label\n1,cat\n2,cat\n3,dog\n4,dog\n", gives: "cat 1+1, dog 1+1",
            says: ["4 photographs that the list of labels does not name"]),
        Input(66, "list that is empty", ["*4"], labels: "\n", gives: "error", says: ["an empty list"]),
        Input(
            67, "list with one column", ["*4"], labels: "1\n2\n", gives: "error",
            says: ["one column in its first line"]),
        Input(
            68, "list with a line of another length", ["*4"], labels: "id,label\n1,cat\n2,cat,tame\n",
            gives: "error", says: [":3: 3 columns, and 2 in the first line"]),
        Input(
            69, "list with an open quotation mark", ["*4"], labels: "id,label\n1,\"cat\n2,dog\n",
            gives: "error", says: [":2: a quotation mark without its partner"]),
        Input(
            70, "photographs without an extension", ["cat/*2", "cat/3@jpeg", "cat/more/4@png", "dog/*4"],
            gives: "cat 3+1, dog 3+1"),
        Input(
            71, "photographs with an unknown extension",
            ["cat/*2", "cat/3.dat@webp", "cat/4.jpg_large@jpeg", "dog/*4"], gives: "cat 3+1, dog 3+1"),
        Input(
            72, "photographs that are called like another format",
            ["cat/*2", "cat/3.heic@jpeg", "cat/4.tif@png", "dog/*4"], gives: "cat 3+1, dog 3+1"),
        Input(
            73, "link to a photograph without an extension",
            ["cat/*3", "cat/4 -> ../../out/4", "../out/4@jpeg", "dog/*4"], gives: "cat 3+1, dog 3+1"),
        Input(
            74, "other files without an extension", ["cat/*4", "cat/README", "cat/notes.txt@jpeg", "dog/*4"],
            gives: "cat 3+1, dog 3+1",
            says: ["2 files of kinds that are not read (1 .txt, 1 without an extension), in cat"]),
        Input(
            75, "HEIC, RAW, TIFF and videos beside photographs",
            ["cat/*4", "dog/*4", "cat/a.HEIC", "dog/b.heif", "cat/c.nef", "cat/d.tiff", "dog/e.MOV"],
            gives: "cat 3+1, dog 3+1",
            says: [
                "2 HEIC photographs cannot be read, in cat, dog",
                "2 HEIC photographs cannot be read, in cat, dog; convert them: "
                    + "find ROOT \\( -iname '*.heic' -o -iname '*.heif' \\) "
                    + "-exec sh -c 'magick \"$1\" \"$1.jpg\"' sh {} \\;",
                "1 RAW file cannot be read, in cat; convert them: find ROOT -iname '*.nef' -exec",
                "1 TIFF photograph cannot be read, in cat; convert them: find ROOT -iname '*.tiff' -exec "
                    + "sh -c 'magick \"$1[0]\"",
                "1 video cannot be read, in dog; convert them: find ROOT -iname '*.mov' -exec sh -c 'ffmpeg",
            ]),
        Input(
            76, "HEIC photographs without an extension", ["cat/*4", "dog/*4", "cat/5@heic"],
            gives: "cat 3+1, dog 3+1",
            says: [
                "1 HEIC photograph cannot be read, in cat",
                "in cat; convert it: magick ROOT/cat/5 ROOT/cat/5.jpg",
            ]),
        Input(
            77, "class of which all photographs are HEIC", ["cat/*4", "dog/a.heic", "dog/b.heic"],
            gives: "error",
            says: [
                "ROOT/dog: an empty class, no photograph in it; 2 HEIC photographs cannot be read; convert "
                    + "them: find ROOT/dog -iname '*.heic'"
            ]),
        Input(
            78, "class folders with only HEIC photographs and videos",
            ["cat/a.heic", "cat/b.heic", "dog/c.heic", "dog/d.mp4"], gives: "error",
            says: [
                "ROOT: no photograph in its class folders that can be read; 3 HEIC photographs cannot be "
                    + "read; convert them: find ROOT -iname '*.heic'",
                "1 video cannot be read; convert them: find ROOT -iname '*.mp4'",
            ]),
        Input(
            79, "flat folder with only HEIC photographs", ["a.heic", "b.heic"], gives: "error",
            says: ["ROOT: no class folders in it, and 2 HEIC photographs cannot be read; convert them"]),
        Input(
            80, "`val/` with only HEIC photographs",
            ["train/cat/*2", "train/dog/*2", "val/cat/a.heic"], gives: "error",
            says: [
                "ROOT/val: no photograph in its class folders; remove the folder to split ROOT/train; or: ",
                "1 HEIC photograph cannot be read; convert them: find ROOT/val",
            ]),
        Input(
            81, "folder of a run", ["config.yaml", "checkpoints/"], gives: "error",
            says: ["ROOT: the folder of a run, which has no photographs"]),
        Input(
            82, "folder above a set, beside other folders",
            ["photos/train/cat/*2", "photos/train/dog/*2", "notes/", "runs/a/log.txt"], gives: "error",
            says: ["ROOT: no folder of classes; the only photographs in it are those of ROOT/photos"]),
        Input(
            83, "folder above a set with `train/` and `val/`",
            ["photos/train/cat/*2", "photos/train/dog/*2", "photos/val/cat/*2"], gives: "error",
            says: ["ROOT: no folder of classes; the only photographs in it are those of ROOT/photos"]),
        Input(
            84, "folder above several sets",
            ["a/train/cat/*2", "a/train/dog/*2", "b/train/cow/*2", "b/train/eel/*2"], gives: "error",
            says: ["ROOT: its folders “a”, “b” each contain a training part, so they are sets, not classes"]),
    ]

    @Test(arguments: inputs) private func outcome(of input: Input) throws {
        let place = try TemporaryFolder()
        try place.makeFolder("set")
        for file in input.files { try write(file, in: place) }
        let labels = try input.labels.map { try place.write($0, "list.csv") }
        let root = place.file("set")
        var (outcome, lines): (String, [String])
        do {
            let set = try Dataset.load(root: root, labels: labels, validationFraction: 0.25)
            outcome = set.classes.indices.map {
                "\(set.classes[$0]) \(set.training.countsByClass[$0])+\(set.validation.countsByClass[$0])"
            }.joined(separator: ", ")
            lines = set.unused.lines + set.remarks
            // Whatever trains can be measured too.
            let measured = try LabelledFolder(root: root, labels: labels).measured(.all)
            #expect(measured.total == set.training.count + set.validation.count)
        } catch let error as DatasetError {
            (outcome, lines) = ("error", [error.description])
        }
        let text = lines.joined(separator: "\n")
        #expect(outcome == input.outcome, "\(text)")
        for part in input.says {
            let part = part.replacing("ROOT", with: root)
            #expect(text.contains(part), "'\(part)' is not in '\(text)'")
        }
        let saysUnused = input.says.contains { $0.contains("not used") || text.contains("not used: \($0)") }
        #expect(saysUnused || !text.contains("not used"), "\(text)")
    }

    /// The first bytes of formats.
    private static let starts: [String: [UInt8]] = [
        "jpeg": [0xFF, 0xD8, 0xFF, 0xE0], "png": [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A],
        "webp": Array("RIFF\0\0\0\0WEBP".utf8), "heic": Array("\0\0\0\u{18}ftypheic\0\0\0\0mif1".utf8),
    ]

    private func write(_ file: String, in place: TemporaryFolder) throws {
        let parts = file.split(separator: "@")
        if parts.count == 2, let start = Self.starts[String(parts[1])] {
            try place.write(start, "set/" + parts[0])
            return
        }
        let link = file.split(separator: " -> ")
        if link.count == 2 {
            #expect(symlink(String(link[1]), place.file("set/" + link[0])) == 0)
        } else if file.hasSuffix("/") {
            try place.makeFolder("set/" + file)
        } else if let star = file.firstIndex(of: "*"), let count = Int(file[file.index(after: star)...]) {
            for number in 1...count { try place.write([1], "set/\(file[..<star])\(number).jpg") }
        } else {
            try place.write([1], "set/" + file)
        }
    }

    /// The table in the documentation has a row for each input, in order, and the other way round.
    @Test func documentation() throws {
        let rows = try documentedInputs().prefix(Self.inputs.count)
        #expect(rows.map(\.name) == Self.inputs.map(\.name))
        #expect(rows.map(\.number) == Array(1...Self.inputs.count) && Self.inputs.count >= 40)
    }
}
