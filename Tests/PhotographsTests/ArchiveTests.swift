import Foundation
import TestSupport
import Testing

@testable import Basics
@testable import Photographs

/// Tests reading photographs from tar archives.
@Suite struct ArchiveTests {
    private let folder: TemporaryFolder
    private let picture: [UInt8]

    init() throws {
        folder = try TemporaryFolder()
        picture = try encodeJPEG(smoothPicture(width: 8, height: 8))
    }

    private func write(_ name: String, _ form: Tar.Form = .ustar, _ body: (inout Tar) -> Void) throws {
        var tar = Tar(form)
        body(&tar)
        try folder.write(tar.finished(), name)
    }

    private func load(_ name: String = "set", fraction: Double = 0) throws -> Dataset {
        try Dataset.load(root: folder.file(name), validationFraction: fraction)
    }

    private func failure(_ name: String = "set") -> DatasetError? {
        #expect(throws: DatasetError.self) { try load(name) }
    }

    private func members(_ name: String) throws -> [TarMember] {
        var reader = try TarReader(FileDescriptor(folder.file(name), O_RDONLY))
        var members: [TarMember] = []
        while let member = try reader.next() { members.append(member) }
        return members
    }

    // MARK: - The format

    /// Names of any length, contents of any size and all kinds of entries are read in each form.
    @Test(arguments: Tar.Form.allCases) func forms(_ form: Tar.Form) throws {
        let long = String(repeating: "folder/", count: 20) + "é-name.jpg"
        let longest = form == .v7 ? 100 : form == .ustar ? 250 : 1000
        let name = long.utf8.count > longest ? "é.jpg" : long
        let contents = [
            [], [1], [UInt8](repeating: 2, count: 511), [UInt8](repeating: 3, count: 512),
            [UInt8](repeating: 4, count: 20_000),
        ]
        try write("a.tar", form) { tar in
            tar.addFolder("folder/")
            for (number, content) in contents.enumerated() { tar.add("\(number)/\(name)", content) }
            tar.addLink("link", to: "0/target")
            tar.addLink("hard", to: "1/target", isHard: true)
        }
        let members = try members("a.tar")
        #expect(members.map(\.kind) == [.folder] + contents.map { _ in .file } + [.link, .link])
        #expect(
            members.map(\.text) == ["folder/"] + contents.indices.map { "\($0)/\(name)" } + ["link", "hard"])
        #expect(members[6...].map { String(decoding: $0.target, as: UTF8.self) } == ["0/target", "1/target"])
        let file = try FileDescriptor(folder.file("a.tar"), O_RDONLY)
        for (member, content) in zip(members[1...], contents) {
            #expect(try file.bytes(member.byteCount, at: member.offset) == content)
        }
    }

    /// The system's own tar program writes what is read here.
    @Test(arguments: ["v7", "ustar", "gnu", "pax"]) func systemArchives(_ form: String) throws {
        let names =
            ["a/1.jpg", "b/é 2.jpg"]
            + (form == "v7"
                ? [] : ["b/" + String(repeating: "x", count: 90) + "/" + String(repeating: "y", count: 60)])
        for (number, name) in names.enumerated() {
            try folder.write([UInt8](repeating: UInt8(number), count: 700 * number), "in/" + name)
        }
        let result = try Command.run(
            ["/bin/tar", "--format=\(form)", "-cf", "out.tar", "-C", "in", "."], in: folder.path)
        #expect(result.status == 0, "\(result)")
        let files = try members("out.tar").filter { $0.kind == .file }
        #expect(Set(files.map { String($0.text.dropFirst(2)) }) == Set(names))
        for file in files {
            let number = try #require(names.firstIndex(of: String(file.text.dropFirst(2))))
            #expect(file.byteCount == 700 * number)
        }
    }

    @Test func numbers() {
        func number(_ field: [UInt8]) -> Int? { TarReader.number(field[...]) }
        #expect(number(Array("00000000017\0".utf8)) == 15)
        #expect(number(Array("     17 \0".utf8)) == 15)
        #expect(number([0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1]) == 2 << 32 + 1)
        #expect(number([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]) == nil)
        #expect(number(Array("00000009\0".utf8)) == nil)
    }

    /// An archive is refused wherever it is cut, unless only padding is lost; no member is lost silently.
    @Test func truncated() throws {
        try write("whole.tar", .gnu) { tar in
            for number in 0..<3 {
                tar.add("\(number)/" + String(repeating: "n", count: 150), [UInt8](repeating: 7, count: 600))
            }
        }
        let whole = try folder.bytes("whole.tar")
        let end = whole.count - 1024
        for count in Array(stride(from: 1, through: end, by: 97)) + [end, end + 511] {
            try folder.write(Array(whole.prefix(count)), "cut.tar")
            let error = #expect(throws: DatasetError.self) { try members("cut.tar") }
            #expect(error?.kind == .badArchive(.truncated), "\(count): \(error?.description ?? "")")
        }
        try folder.write(Array(whole.prefix(end + 512)), "cut.tar")
        #expect(try members("cut.tar").count == 3)
        try folder.write([], "cut.tar")
        #expect(throws: DatasetError.self) { try members("cut.tar") }
    }

    /// A damaged byte of a header is found; other files are refused with what they are.
    @Test func damaged() throws {
        try write("a.tar", .pax) { $0.add(String(repeating: "n", count: 150), [1]) }
        let whole = try folder.bytes("a.tar")
        for place in [0, 130, 150, 300, 1024, 1024 + 130] {
            var bytes = whole
            bytes[place] ^= 0x01
            try folder.write(bytes, "b.tar")
            #expect(throws: DatasetError.self, "\(place)") { try members("b.tar") }
        }
        // A pax header with a wrong length.
        var bytes = whole
        bytes[512] = UInt8(ascii: "9")
        try folder.write(bytes, "b.tar")
        #expect(throws: DatasetError.self) { try members("b.tar") }
        try folder.write([0x1F, 0x8B] + [UInt8](repeating: 1, count: 600), "c.tar")
        let error = #expect(throws: DatasetError.self) { try members("c.tar") }
        #expect(error?.kind == .badArchive(.notTar) && error?.description.contains("gzip") == true)
    }

    // MARK: - Sets

    /// The same photographs are the same set in class folders, in a tar of class folders, and in WebDataset's
    /// form, in any order and number of archives: names, order, hold-out, fingerprint and bytes.
    @Test func sameSetAsFolders() throws {
        let names = (0..<60).map { "\(["cat", "dog", "é"][$0 % 3])/\($0 * 7 % 60)-x.jpg" }
        let contents = try (0..<60).map {
            try encodeJPEG(noisePicture(width: 8 + $0 % 5, height: 9, seed: UInt64($0)))
        }
        for (name, content) in zip(names, contents) { try folder.write(content, "folders/" + name) }
        try write("plain/all.tar", .gnu) { tar in
            for (name, content) in zip(names, contents).reversed() { tar.add("./" + name, content) }
        }
        try write("wrapped/all.tar", .pax) { tar in
            for (name, content) in zip(names, contents) { tar.add("my/photos/" + name, content) }
        }
        try folder.write("cat\ndog\né\tsome words\n", "dataset/classes.txt")
        for archive in 0..<4 {
            try write("dataset/shard-\(archive).tar") { tar in
                for (index, name) in names.enumerated() where index % 4 == archive {
                    tar.add(name, contents[index])
                    tar.add(name.replacing(".jpg", with: ".cls"), "\(index % 3)")
                    tar.add(name.replacing(".jpg", with: ".json"), "{}")
                }
            }
        }
        let expected = try load("folders", fraction: 0.2)
        for name in ["plain", "wrapped", "dataset", "plain/all.tar"] {
            for round in ["listed", "from its index"] {
                let set = try load(name, fraction: 0.2)
                #expect(set.classes == expected.classes)
                #expect(set.training.files == expected.training.files, "\(name) \(round)")
                #expect(set.validation.files == expected.validation.files)
                #expect(set.fingerprint == expected.fingerprint)
                #expect(set.unused.lines == [], "\(name) \(round)")
                for index in 0..<set.training.count {
                    #expect(
                        try set.training.decoded(index, shortSide: nil)
                            == expected.training.decoded(index, shortSide: nil))
                }
            }
        }
    }

    /// Names of folders and of archives say the parts, as those of folders do.
    @Test func parts() throws {
        for part in ["train", "val"] {
            for number in 0..<6 {
                let name = "\(number % 2 == 0 ? "a" : "b")/\(number).jpg"
                try folder.write(picture + [UInt8(number)], "folders/\(part)/\(name)")
            }
            for archive in 0..<2 {
                let body = { (tar: inout Tar) in
                    for number in 0..<6 where number % 2 == archive {
                        tar.add("\(number % 2 == 0 ? "a" : "b")/\(number).jpg", picture + [UInt8(number)])
                    }
                }
                try write("in-folders/\(part)/\(archive).tar", .gnu, body)
                try write("in-names/my_set-\(part)-\(archive).tar", .gnu, body)
            }
        }
        try write("in-names/test-0.tar") { $0.add("0.jpg", [1]) }
        let expected = try load("folders")
        for name in ["in-folders", "in-names"] {
            let set = try load(name)
            #expect(set.training.files == expected.training.files, "\(name)")
            #expect(set.validation.files == expected.validation.files)
            #expect(set.fingerprint == expected.fingerprint)
            #expect(set.validationPath != nil)
        }
        #expect(try load("in-names").unused.lines.joined().contains("test-0.tar"))
    }

    /// Classes come from `.cls` as a name or a number, or from `.json`; masks are no photographs.
    @Test func samples() throws {
        try write("numbers/0.tar") { tar in
            for number in 0..<12 {
                tar.add("\(number).cls", " \(number)\n")
                tar.add("\(number).jpg", picture)
                tar.add("\(number).mask.png", picture)
                tar.add("\(number).txt", "a caption")
            }
            tar.add("lonely.cls", "1")
        }
        let numbers = try load("numbers")
        #expect(numbers.classes == ["0", "1", "10", "11", "2", "3", "4", "5", "6", "7", "8", "9"])
        #expect(numbers.training.count == 12 && numbers.training.name(2) == "10.jpg")
        let unused = numbers.unused.lines.joined()
        #expect(unused.contains("12 .png") && unused.contains("1 samples without a photograph"), "\(unused)")
        try write("json/0.tar") { tar in
            for number in 0..<4 {
                tar.add("\(number).json", "{\"label\": \"\(number % 2 == 0 ? "even" : "odd")\"}")
                tar.add("\(number).PNG", picture)
            }
        }
        #expect(try load("json").training.files.map(\.label) == [0, 0, 1, 1])
        #expect(try load("json").classes == ["even", "odd"])
    }

    /// Everything that an archive has besides photographs is named.
    @Test func unusedMembers() throws {
        try write("set/0.tar", .gnu) { tar in
            tar.addFolder("a/")
            tar.add("a/1.jpg", picture)
            tar.add("b/2.jpg", picture)
            tar.add("b/notes.doc", "x")
            tar.add("b/._2.jpg", "x")
            tar.addLink("a/3.jpg", to: "1.jpg")
            tar.addLink("a/4.jpg", to: "b/2.jpg", isHard: true)
            tar.addLink("a/5.jpg", to: "../../elsewhere.jpg")
            tar.add(Array("b/fifo".utf8), [], type: UInt8(ascii: "6"))
            tar.add(Array("b/caf".utf8) + [0xE9] + Array(".jpg".utf8), picture)
        }
        for _ in 0..<2 {
            let set = try load()
            let lines = (set.unused.lines + set.remarks).joined(separator: "\n")
            for part in [
                "2 links to what is listed already: 0.tar:a/3.jpg, 0.tar:a/4.jpg",
                "1 link to nothing: 0.tar:a/5.jpg",
                "1 .doc", "1 devices and pipes", "1 hidden", "1 name is not UTF-8, such as 0.tar:b/caf",
            ] { #expect(lines.contains(part), "\(part) in \(lines)") }
            #expect(set.training.count == 3)
            for index in 0..<3 {
                #expect(throws: Never.self) { try set.training.decoded(index, shortSide: 8) }
            }
        }
    }

    @Test func refusedSets() throws {
        func expect(_ problem: DatasetError.ArchiveProblem, _ parts: String..., name: String = "set") throws {
            let error = failure(name)
            #expect(error?.kind == .badArchive(problem), "\(error?.description ?? "")")
            for part in parts {
                #expect(error?.description.contains(part) == true, "\(error?.description ?? "")")
            }
            try? folder.remove(name)
        }
        try write("set/0.tar") {
            $0.add("a/1.jpg", picture); $0.add("b/1.jpg", picture)
        }
        try write("set/1.tar") {
            $0.add("a/1.jpg", picture); $0.add("b/2.jpg", picture)
        }
        try expect(.repeated, "set/0.tar and", "set/1.tar", "“a/1.jpg”")
        try write("set/0.tar") {
            $0.add("a/1.jpg", picture); $0.add("a/1.jpg", picture)
        }
        try expect(.repeated, "“a/1.jpg” occurs twice")
        try write("set/0.tar") {
            $0.add("n1.tar", picture); $0.add("n2.tar", picture)
        }
        try expect(.notTar, "set/0.tar:n1.tar: not a tar archive")
        try write("set/0.tar") {
            $0.add("1.jpg", picture); $0.add("2.jpg", picture)
        }
        try expect(.noClass, "set/0.tar:1.jpg")
        try write("set/0.tar") {
            $0.add("1.jpg", picture); $0.add("1.cls", "0"); $0.add("2.jpg", picture)
        }
        try expect(.noClass, "set/0.tar:2.jpg")
        try folder.write("a\nb\n", "set/classes.txt")
        try write("set/0.tar") {
            $0.add("1.jpg", picture); $0.add("1.cls", "2")
        }
        try expect(.noClass, "its class is 2", "classes.txt names the classes 0 to 1")
        try folder.write("a\na\n", "set/classes.txt")
        try write("set/0.tar") {
            $0.add("1.jpg", picture); $0.add("1.cls", "1")
        }
        try expect(.badManifest, "“a” occurs twice")
        try write("set/0.tar") { $0.add(Array("a/1.jpg".utf8), picture, type: UInt8(ascii: "S")) }
        try expect(.unsupported, "sparse")
        try folder.write("{\"format\": \"deep-image archives 1\"}", "set/manifest.json")
        try expect(.badManifest, "no list of archives")
        try folder.write("{\"format\": \"deep-image archives 9\"}", "set/manifest.json")
        try expect(.badManifest, "archives 9")
        try folder.write("{}", "set.json")
        try expect(.badManifest, "not a manifest", name: "set.json")
    }

    /// A manifest names archives that are missing or cut.
    @Test func manifest() throws {
        try write("set/0.tar") {
            $0.add("1.jpg", picture); $0.add("1.cls", "1"); $0.add("2.jpg", picture); $0.add("2.cls", "0")
        }
        let size = try folder.bytes("set/0.tar").count
        func manifest(_ path: String, _ bytes: Int) throws {
            try folder.write(
                """
                {"format": "deep-image archives 1", "classes": [{"name": "x"}, {"name": "a"}], "archives":
                [{"path": "\(path)", "bytes": \(bytes), "photographs": 2, "sha256": ""}]}
                """, "set/manifest.json")
        }
        try manifest("0.tar", size)
        #expect(try load().classes == ["a", "x"])
        #expect(try load("set/manifest.json").training.files == load().training.files)
        #expect(try load().training.files.map(\.path) == ["1.jpg", "2.jpg"])
        try manifest("0.tar", size + 512)
        #expect(failure()?.description.contains("\(size) bytes, and") == true)
        try manifest("1.tar", size)
        #expect(failure()?.description.contains("1.tar: no such file, and") == true)
    }

    // MARK: - The index

    /// The index is used while it fits the archives, made again when one was changed, and ignored when it is
    /// damaged.
    @Test func index() throws {
        func write(_ names: String...) throws {
            try self.write("set/0.tar") { tar in for name in names { tar.add(name, picture) } }
        }
        try write("a/1.jpg", "b/1.jpg")
        _ = try load()
        let file = folder.file("set/photographs.index")
        let index = try #require(ArchiveIndex(path: file))
        #expect(index.count == 2 && index.header.classes == ["a", "b"])
        // Every changed byte is found.
        let bytes = try folder.bytes("set/photographs.index")
        for place in bytes.indices {
            var changed = bytes
            changed[place] ^= 0x10
            try folder.write(changed, "changed.index")
            #expect(ArchiveIndex(path: folder.file("changed.index")) == nil, "\(place)")
        }
        for count in stride(from: 0, to: bytes.count, by: 13) {
            try folder.write(Array(bytes.prefix(count)), "changed.index")
            #expect(ArchiveIndex(path: folder.file("changed.index")) == nil, "\(count)")
        }
        try folder.write(Array(bytes.prefix(100)), "set/photographs.index")
        #expect(try load().training.count == 2)
        #expect(try load().remarks.contains { $0.contains("older") } == false)
        // A changed archive.
        try write("a/1.jpg", "b/1.jpg", "b/2.jpg")
        let changed = try load()
        #expect(changed.training.count == 3)
        #expect(changed.remarks.contains { $0.contains("photographs.index is older than 0.tar") })
        #expect(try load().remarks.contains { $0.contains("older") } == false)
        // Another list of classes.
        try folder.write("x\ny\n", "set/classes.txt")
        #expect(try load().training.count == 3)
    }

    /// An archive that was replaced while a set is open is an error and not another photograph.
    @Test func replacedArchive() throws {
        try write("set/0.tar") {
            $0.add("a/1.jpg", picture); $0.add("b/1.jpg", picture)
        }
        let set = try load()
        try write("set/0.tar") {
            $0.add("c/1.jpg", picture); $0.add("d/1.jpg", picture); $0.add("e/1.jpg", picture)
        }
        let error = #expect(throws: ImageError.self) { try set.training.decoded(0, shortSide: 8) }
        #expect(error?.description.contains("was changed since it was listed") == true)
    }

    /// What times reading from the disk finds the archive of each photograph, in one part and in several.
    @Test func filesOfPhotographs() throws {
        for (part, name) in [("train", "a"), ("train", "b"), ("val", "a"), ("val", "b")] {
            var tar = Tar()
            tar.add("\(name)/1.jpg", try encodeJPEG(smoothPicture(width: 8, height: 8)))
            try folder.write(tar.finished(), "set/\(part)-\(name).tar")
        }
        let set = try ImageSet.anywhere(in: folder.file("set"))
        #expect(
            Set((0..<set.count).map(set.file))
                == Set(["train-a", "train-b", "val-a", "val-b"].map { folder.file("set/\($0).tar") }))
        #expect(set.count == 4)
        set.forgetFiles()
        #expect(set.readable(shortSide: 8).count == 4)
    }

    /// Many more archives than files may be open at once.
    @Test func manyArchives() throws {
        for number in 0..<300 {
            try write("set/\(number).tar") { $0.add("\(number % 2)/\(number).jpg", picture) }
        }
        let set = try load().training
        for index in 0..<300 { #expect(throws: Never.self) { try set.decoded(index, shortSide: 8) } }
    }

    @Test func missingNumbers() throws {
        for number in [0, 1, 3] {
            try write("set/x-00000\(number).tar") {
                $0.add("\(number % 2)/\(number).jpg", picture); $0.add("0/y\(number).jpg", picture)
            }
        }
        let remarks = try load().remarks
        #expect(remarks.contains { $0.contains("no number 2 of x-….tar") }, "\(remarks)")
    }
}
