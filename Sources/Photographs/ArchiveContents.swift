import Basics
import Foundation

/// Returns where the photographs of a tar archive are in it.
///
/// - Throws: `DatasetError`.
package func photographsInArchive(_ path: String) throws -> [(offset: Int, byteCount: Int)] {
    try ArchiveContents(path, place: "archive").places
}

/// Lists the photographs of one tar archive, and what it says about their classes.
///
/// In the convention of WebDataset the members `KEY.jpg`, `KEY.cls` and `KEY.json` are one sample. KEY ends
/// before the first dot of the name; `KEY.cls` is the number or the name of the class. An archive without
/// such members holds class folders: `CLASS/NAME.jpg`. An archive in it stands for a folder of its name.
struct ArchiveContents: Sendable {
    /// The names of the photographs, without a `./` at the front.
    private(set) var names = Names()
    /// Where the content of each photograph is.
    private(set) var places: [(offset: Int, byteCount: Int)] = []
    /// What the sample of each photograph says about its class; nil in class folders.
    private(set) var classes: [String?] = []
    private(set) var unused = UnusedFiles()
    /// The first name that is not UTF-8, and how many there are.
    private(set) var foreignNames: (first: String, count: Int) = ("", 0)

    private static let largestText = 1 << 20

    /// - Parameter place: how lists of what is not used name the archive.
    init(_ path: String, place: String) throws {
        let file: FileDescriptor
        do { file = try FileDescriptor(path, O_RDONLY) } catch {
            throw DatasetError(.badArchive(.missing), "\(error)")
        }
        var listing = Listing(path: path, place: place)
        try listing.add(TarReader(file), below: [])
        unused.add(listing.unused)
        var reader = try TarReader(file)
        try collect(listing.members, &reader, place: place)
    }

    /// The members of an archive, and of the archives in it.
    private struct Listing {
        let path: String
        let place: String
        var members: [(member: TarMember, name: [UInt8])] = []
        var unused = UnusedFiles()
        private var links: [(name: String, target: [UInt8])] = []
        private var files: Set<[UInt8]> = []

        init(path: String, place: String) { (self.path, self.place) = (path, place) }

        /// Adds the members of an archive.
        ///
        /// ImageNet's training archive holds an archive for each class, whose name is that of a folder.
        mutating func add(_ reader: TarReader, below folder: [UInt8]) throws {
            var reader = reader
            var nested: [(member: TarMember, name: [UInt8])] = []
            while let member = try reader.next() {
                var name = member.name[...]
                while name.starts(with: "./".utf8) { name = name.dropFirst(2) }
                let parts = name.split(separator: UInt8(ascii: "/"))
                if member.kind == .folder || parts.isEmpty { continue }
                let isHidden = parts.contains { part in
                    part.withUnsafeBytes { FolderListing.isSystemName($0) }
                }
                if isHidden {
                    let last = String(decoding: parts[parts.count - 1], as: UTF8.self)
                    unused.add(.hidden, FileKind(last), member: name, of: place)
                    continue
                }
                let whole = folder + name
                switch member.kind {
                case .folder: continue
                case .link: links.append((String(decoding: whole, as: UTF8.self), member.target))
                case .other: unused.add(.otherKind, FileKind("devices and pipes"), member: whole, of: place)
                case .file:
                    guard files.insert(whole).inserted else {
                        throw DatasetError(
                            .badArchive(.repeated), "\(path): the name “\(member.text)” occurs twice")
                    }
                    if folder.isEmpty, name.suffix(4).elementsEqual(".tar".utf8) {
                        nested.append((member, Array(name)))
                    } else {
                        members.append((member, whole))
                    }
                }
            }
            for (member, name) in nested {
                try add(reader.inner(member), below: name.dropLast(4) + [UInt8(ascii: "/")])
            }
            if folder.isEmpty { listLinks() }
        }

        /// Counts links by what they lead to.
        private mutating func listLinks() {
            for (name, target) in links {
                // A hard link has the whole name of its target, a symbolic link begins at its own folder.
                let folder = name.split(separator: "/").dropLast().joined(separator: "/")
                let text = String(decoding: target, as: UTF8.self)
                let isKnown = [text, folder + "/" + text].contains {
                    files.contains(ArchiveContents.resolved($0))
                }
                unused.add(isKnown ? .repeated : .brokenLink, file: place + ":" + name)
            }
        }
    }

    /// Returns a path without `.` and `..`.
    fileprivate static func resolved(_ path: String) -> [UInt8] {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return Array(parts.joined(separator: "/").utf8)
    }

    /// Takes the photographs among the members, and their classes from those beside them.
    private mutating func collect(
        _ members: [(member: TarMember, name: [UInt8])], _ reader: inout TarReader, place: String
    ) throws {
        let labelled = members.contains { Self.ending($0.name).elementsEqual("cls".utf8) }
        let isDataset = labelled || members.contains { Self.ending($0.name).elementsEqual("json".utf8) }
        var texts: [ArraySlice<UInt8>: String] = [:]
        var keysWithPhotographs: Set<ArraySlice<UInt8>> = []
        if isDataset {
            for (member, name) in members where member.byteCount <= Self.largestText {
                let ending = Self.ending(name)
                if ending.elementsEqual("cls".utf8) {
                    let text = String(decoding: try reader.content(member), as: UTF8.self)
                    texts[Self.key(name)] = text.trimmingCharacters(in: .whitespacesAndNewlines)
                } else if !labelled, ending.elementsEqual("json".utf8) {
                    texts[Self.key(name)] = Self.className(try reader.content(member))
                }
            }
        }
        // A folder of JSON files beside class folders is no set of samples.
        let isSampled = !texts.isEmpty
        for (member, name) in members {
            // `KEY.mask.png` is no photograph of the sample.
            let isPhotograph = name.withUnsafeBytes { isPhotographName($0) }
            if isPhotograph, !isSampled || !Self.ending(name).contains(UInt8(ascii: ".")) {
                keysWithPhotographs.insert(Self.key(name))
                names.append(name)
                places.append((member.offset, member.byteCount))
                classes.append(isSampled ? texts[Self.key(name)] ?? "" : nil)
                if String(validating: name, as: UTF8.self) == nil {
                    if foreignNames.count == 0 {
                        foreignNames.first = "\(place):\(String(decoding: name, as: UTF8.self))"
                    }
                    foreignNames.count += 1
                }
            } else if !isSampled || !Self.isCompanion(name) {
                let kind = name.withUnsafeBytes { FolderListing.kind($0) }
                let format = ForeignFormat.photographs(ending: kind)
                unused.add(.otherKind, FileKind(kind, format), member: name, of: place)
            }
        }
        if isSampled {
            let lone = texts.keys.filter { !keysWithPhotographs.contains($0) }.count
            if lone > 0 { unused.add(.otherKind, "samples without a photograph", count: lone, in: place) }
        }
    }

    /// Whether a member describes its sample and needs no mention.
    private static func isCompanion(_ name: [UInt8]) -> Bool {
        ["cls", "json", "txt"].contains { ending(name).elementsEqual($0.utf8) }
    }

    /// Returns the class that the JSON of a sample states.
    private static func className(_ content: [UInt8]) -> String? {
        guard let json = try? JSON.parse(content) else { return nil }
        return ["cls", "class", "label"].lazy.compactMap { key in
            json[key]?.string ?? json[key]?.integer.map { String($0) }
        }.first
    }

    /// Returns a name up to the first dot in its last part.
    private static func key(_ name: [UInt8]) -> ArraySlice<UInt8> { name[..<dot(name)] }

    /// Returns a name behind the first dot in its last part; empty if there is none.
    private static func ending(_ name: [UInt8]) -> ArraySlice<UInt8> { name[dot(name)...].dropFirst() }

    private static func dot(_ name: [UInt8]) -> Int {
        let start = name.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
        return name[start...].firstIndex(of: UInt8(ascii: ".")) ?? name.count
    }
}
