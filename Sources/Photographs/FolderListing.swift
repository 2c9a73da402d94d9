import Foundation

/// Lists the names in one folder, except hidden ones.
///
/// Names are sorted by their bytes, which for UTF-8 is the order of Unicode scalars.
struct FolderListing {
    let folders: [String]
    let images: [String]
    /// How many other files there are: neither folders nor photographs.
    var otherCount = 0

    /// Reads the folder's entries.
    ///
    /// A file costs a system call only if its entry has no type or is a link.
    init(path: String) throws {
        guard let directory = opendir(path) else { throw Self.error(path) }
        defer { closedir(directory) }
        var folderNames = Names()
        var imageNames = Names()
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                if errno != 0 { throw Self.error(path) }
                break
            }
            guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else { break }
            let name = UnsafeRawPointer(entry).advanced(by: offset).assumingMemoryBound(to: UInt8.self)
            let count = strlen(UnsafeRawPointer(name).assumingMemoryBound(to: CChar.self))
            if count == 0 || name[0] == UInt8(ascii: ".") { continue }
            if Self.isFolder(Int(entry.pointee.d_type), path, name, count) {
                folderNames.append(name, count)
            } else if isPhotographName(UnsafeBufferPointer(start: name, count: count)) {
                imageNames.append(name, count)
            } else {
                otherCount += 1
            }
        }
        folders = folderNames.sorted()
        images = imageNames.sorted()
    }

    private static func isFolder(_ type: Int, _ path: String, _ name: UnsafePointer<UInt8>, _ count: Int)
        -> Bool
    {
        if type == DT_DIR { return true }
        guard type == DT_LNK || type == DT_UNKNOWN else { return false }
        var status = stat()
        let full =
            path + "/" + String(decoding: UnsafeBufferPointer(start: name, count: count), as: UTF8.self)
        return stat(full, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private static func error(_ path: String) -> DatasetError {
        let advice = "give the folder that holds one folder of photographs for each class"
        return switch errno {
        case ENOENT:
            DatasetError(.missingFolder, "\(path): \(nameProblem(path) ?? "no such folder"); \(advice)")
        case ENOTDIR: DatasetError(.notAFolder, "\(path): not a folder; \(advice)")
        case EACCES, EPERM:
            DatasetError(
                .noPermission, "\(path): no permission to list this folder; change its mode with chmod")
        default: DatasetError(.unreadable, "\(path): cannot be listed: \(String(cString: strerror(errno)))")
        }
    }
}

/// Holds names as bytes, one after the other, because sorting strings takes several times longer.
private struct Names {
    private var bytes: [UInt8] = []
    private var starts: [Int] = [0]

    mutating func append(_ name: UnsafePointer<UInt8>, _ count: Int) {
        bytes.append(contentsOf: UnsafeBufferPointer(start: name, count: count))
        starts.append(bytes.count)
    }

    func sorted() -> [String] {
        bytes.withUnsafeBufferPointer { bytes in
            guard let base = bytes.baseAddress else { return [] }
            let order = (0..<starts.count - 1).sorted { left, right in
                let leftCount = starts[left + 1] - starts[left]
                let rightCount = starts[right + 1] - starts[right]
                let order = memcmp(base + starts[left], base + starts[right], min(leftCount, rightCount))
                return order == 0 ? leftCount < rightCount : order < 0
            }
            return order.map { String(decoding: bytes[starts[$0]..<starts[$0 + 1]], as: UTF8.self) }
        }
    }
}
