import Basics
import Foundation

/// Keeps the values that `trainer tune` has chosen for a device, in the folder of compiled programs.
///
/// They belong to the device's platform, name and driver, to the bodies that run, and to the kernels'
/// sources: after a change of any of these the device has its initial values again.
public struct TuningStore {
    private let description: DeviceDescription
    private let directory: String
    private let identity: [JSON.Member]
    /// The file, which need not exist.
    public let path: String

    public init(_ description: DeviceDescription) {
        self.init(description, directory: CacheFolder.path)
    }

    /// - Parameter sources: the kernel files by their names
    init(
        _ description: DeviceDescription, directory: String, sources: [String: String] = Program.sources
    ) {
        self.description = description
        self.directory = directory
        var hash = FNVHash()
        for (name, text) in sources.sorted(by: { $0.key < $1.key }) { hash.add(name + "\u{0}" + text) }
        identity = [
            .init("platform", .string(description.platform)), .init("device", .string(description.name)),
            .init("driver", .string(description.driver)),
            .init("kernels", .string(description.traits.body.rawValue)),
            .init("sources", .string(String(hash.value, radix: 16))),
        ]
        var name = FNVHash()
        name.add(JSON.object(identity).text)
        path = directory + "/" + TuningStore.prefix + String(name.value, radix: 16) + ".json"
    }

    private static let prefix = "tuning-"

    /// Returns the values stored for the device; none if there are none, or the file is damaged.
    ///
    /// A warning on the standard error names a damaged file.
    public func load() -> [String: Int] {
        guard let data = FileManager.default.contents(atPath: path) else { return [:] }
        do { return try values(JSON.parse([UInt8](data))) } catch {
            StandardStreams.writeError(
                "warning: \(path): not the tuning of a device (\(error)); it is ignored\n")
            return [:]
        }
    }

    private func values(_ file: JSON) throws -> [String: Int] {
        for member in identity where file[member.key] != member.value {
            throw ComputeError(
                "\"\(member.key)\" is \(file[member.key]?.text ?? "missing"), expected \(member.value.text)")
        }
        guard case .object(let members) = file["values"] else { throw ComputeError("\"values\" is missing") }
        var values: [String: Int] = [:]
        for member in members {
            guard case .integer(let value) = member.value else {
                throw ComputeError("\"\(member.key)\" is \(member.value.text), expected a whole number")
            }
            values[member.key] = value
        }
        var tuning = Tuning(for: description.traits)
        let allowed = Set(tuning.racedConstants.map(\.key))
        for key in values.keys.sorted() where !allowed.contains(key) {
            throw ComputeError("\"\(key)\" is not a constant of this device that may be stored")
        }
        try tuning.set(values)
        return values
    }

    /// Stores values for the device in place of those before.
    ///
    /// - Throws: `FileError` if the folder cannot be written to
    public func store(_ values: [String: Int]) throws {
        try Folder.create(directory)
        let members = values.sorted { $0.key < $1.key }.map { JSON.Member($0.key, .integer($0.value)) }
        let file = JSON.object(identity + [.init("values", .object(members))])
        try AtomicFile.write(path, Array((file.text + "\n").utf8))
    }

    /// Removes the values of this device.
    public func remove() throws {
        if FileManager.default.fileExists(atPath: path) { try Folder.remove(path) }
    }

    /// Removes the values of every device, and returns the number of files.
    public static func removeAll() throws -> Int { try removeAll(in: CacheFolder.path) }

    static func removeAll(in directory: String) throws -> Int {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []
        let files = names.filter { $0.hasPrefix(prefix) && $0.hasSuffix(".json") }
        for name in files { try Folder.remove(directory + "/" + name) }
        return files.count
    }
}
