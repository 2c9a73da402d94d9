import Basics
import Foundation

/// Writes the numbered archives of one folder, and continues behind those that are complete.
final class ArchiveSeries {
    /// One complete archive, or unusable photographs behind the last one of a part.
    struct Record {
        /// Nil if no archive belongs to it.
        var path: String?
        var byteCount = 0
        var photographs = 0
        var sha256 = ""
        /// The number of the photograph behind its last one.
        var end = 0
        var sums = ChannelSums()
        var badFiles: [BadFile] = []
    }

    struct BadFile {
        let item: Int
        let problem: String
    }

    let folder: String
    let identity: String
    private(set) var all: [Record] = []
    /// The number of the next photograph that is missing in the archives.
    private(set) var next = 0
    /// Whether an earlier run has written the manifest.
    let isComplete: Bool

    private let archiveBytes: Int
    private var current = Record()
    private var writer: TarWriter?
    private var part = ""
    private var numbers: [String: Int] = [:]
    private var log: JSONLinesFile?
    private var lock: FolderLock?

    /// The complete archives.
    var records: [Record] { all.filter { $0.path != nil } }
    /// The photographs that cannot be read, in order.
    var badFiles: [BadFile] { all.flatMap(\.badFiles) }

    private var recordFolder: String { folder + "/.prepare" }
    private var recordPath: String { recordFolder + "/records.jsonl" }
    private var unfinished: String { recordFolder + "/unfinished.tar" }

    /// Opens a new folder, or one that an earlier run has begun or completed.
    init(_ folder: String, identity: String, archiveBytes: Int, count: Int) throws {
        (self.folder, self.identity, self.archiveBytes) = (folder, identity, archiveBytes)
        let manifest = try Manifest(path: folder + "/" + ArchiveSet.manifestName, mustBeOne: false)
        isComplete = manifest != nil
        if let manifest {
            guard manifest.json["prepared"]?.string == identity else { throw Self.other(folder) }
            next = count
            all = manifest.archives.map {
                Record(path: $0.path, byteCount: $0.byteCount, photographs: $0.photographs, sha256: $0.sha256)
            }
            return
        }
        try Folder.create(folder)
        let names = try Folder.names(folder)
        guard names.isEmpty || names.contains(".prepare") else {
            throw DatasetError(.outputExists, "\(folder): is not empty, and not begun by this command")
        }
        try Folder.create(recordFolder)
        lock = try FolderLock(recordFolder + "/lock")
        guard lock != nil else {
            throw DatasetError(
                .inUse,
                "\(folder): another process prepares photographs in this folder; wait for it or stop it")
        }
        let identityPath = recordFolder + "/identity"
        if let data = FileManager.default.contents(atPath: identityPath) {
            guard String(decoding: data, as: UTF8.self) == identity else { throw Self.other(folder) }
        } else {
            try AtomicFile.write(identityPath, Array(identity.utf8))
        }
        try readRecords()
        log = try JSONLinesFile(recordPath)
    }

    private static func other(_ folder: String) -> DatasetError {
        DatasetError(
            .outputExists, "\(folder): was written from other photographs, or with other options")
    }

    /// Takes the records of an earlier run whose archives are there, and removes the others.
    private func readRecords() throws {
        guard let data = FileManager.default.contents(atPath: recordPath) else { return }
        var kept = 0
        for line in data.split(separator: 0x0A, omittingEmptySubsequences: false).dropLast() {
            guard let record = Record((try? JSON.parse([UInt8](line)))) else { break }
            if let path = record.path {
                var status = stat()
                guard stat(folder + "/" + path, &status) == 0, Int(status.st_size) == record.byteCount else {
                    break
                }
                let name = path.prefix { $0 != "-" }
                numbers[String(name), default: 0] += 1
            }
            kept += line.count + 1
            all.append(record)
            next = record.end
        }
        try JSONLinesFile.truncate(recordPath, toSize: kept)
    }

    // MARK: - Writing

    /// Adds the next photograph, unless an archive has it already.
    ///
    /// - Parameters:
    ///   - name: the photograph's name in its source.
    ///   - problem: why it cannot be used.
    func add(_ item: Int, part: String, _ output: Preparation.Output?, name: String, problem: String?) throws
    {
        guard item >= next else { return }
        next = item + 1
        self.part = part
        guard let output else {
            current.badFiles.append(BadFile(item: item, problem: problem ?? name))
            return
        }
        let writer = try writer ?? TarWriter(unfinished)
        self.writer = writer
        try writer.add(output.key + ".jpg", output.jpeg)
        try writer.add(output.key + ".cls", output.cls)
        try writer.add(output.key + ".json", output.json)
        current.photographs += 1
        current.sums.add(output.sums)
        if writer.byteCount >= archiveBytes { try close(at: next) }
    }

    /// Closes the last archive of a part.
    ///
    /// - Parameter end: the number of the photograph behind the part's last one.
    func endPart(at end: Int) throws {
        if writer != nil || !current.badFiles.isEmpty { try close(at: end) }
    }

    private func close(at end: Int) throws {
        current.end = end
        if let writer {
            current.sha256 = try writer.finish()
            current.byteCount = writer.byteCount
            let number = numbers[part, default: 0]
            numbers[part] = number + 1
            let digits = String(number)
            let path = "\(part)-\(String(repeating: "0", count: max(0, 6 - digits.count)))\(digits).tar"
            current.path = path
            guard rename(unfinished, folder + "/" + path) == 0 else {
                throw FileError.system(folder + "/" + path, "renaming the finished archive")
            }
            try AtomicFile.synchronizeFolder(folder)
        }
        try log?.append(current.json)
        try log?.synchronize()
        all.append(current)
        current = Record()
        writer = nil
    }

    /// Removes what only an interrupted run needs.
    func removeRecords() throws {
        log = nil
        for name in try Folder.names(folder) where name.hasPrefix(".partial-") {
            try Folder.remove(folder + "/" + name)
        }
        if FileManager.default.fileExists(atPath: recordFolder) { try Folder.remove(recordFolder) }
    }
}

extension ArchiveSeries.Record {
    var manifestEntry: JSON {
        ["path": path, "bytes": byteCount, "photographs": photographs, "sha256": sha256]
    }

    fileprivate var json: JSON {
        let bad = badFiles.map { ["item": $0.item, "problem": $0.problem] as JSON }
        return manifestEntry + ["end": end, "sums": sums.numbers, "bad": bad]
    }

    fileprivate init?(_ json: JSON?) {
        guard let json, let bytes = json["bytes"]?.integer, let photographs = json["photographs"]?.integer,
            let sha256 = json["sha256"]?.string, let end = json["end"]?.integer,
            let numbers = json["sums"]?.array?.compactMap(\.integer), let sums = ChannelSums(numbers),
            let bad = json["bad"]?.array
        else { return nil }
        (path, byteCount, self.photographs) = (json["path"]?.string, bytes, photographs)
        (self.sha256, self.end, self.sums) = (sha256, end, sums)
        badFiles = bad.compactMap { entry in
            guard let item = entry["item"]?.integer, let problem = entry["problem"]?.string else {
                return nil
            }
            return ArchiveSeries.BadFile(item: item, problem: problem)
        }
    }
}
