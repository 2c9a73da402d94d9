import Basics
import Foundation

/// What measures the reading of photographs.
extension ImageSet {
    /// Returns the photographs in archives or, without classes, those at any depth of a folder.
    ///
    /// - Throws: `DatasetError`.
    package static func anywhere(in path: String) throws -> ImageSet {
        if try ArchiveSet(path.withoutTrailingSlashes) != nil {
            return try LabelledFolder(root: path).measured(.all).set
        }
        return ImageSet(paths: try Dataset.photographs(below: path).paths, classes: ["all"])
    }

    /// Returns the photographs that can be decoded.
    package func readable(shortSide: Int) -> ImageSet {
        subset((0..<count).filter { (try? decoded($0, shortSide: shortSide)) != nil })
    }

    /// Reads the content of photographs without decoding it.
    package func readFiles(_ indices: [Int], workers: Int) {
        let run = 16
        runWorkers(workers, count: indices.count.ceilDivided(by: run)) { _, item in
            let buffer = ByteBuffer()
            for index in indices[(item * run)..<min(indices.count, (item + 1) * run)] {
                _ = try? bytes(index, buffer: buffer)
            }
        }
    }

    /// Makes the system forget the content of all files, so that the next reads come from the disk.
    package func forgetFiles() {
        for path in Set((0..<count).map(file)) {
            let descriptor = open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else { continue }
            fdatasync(descriptor)
            posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
            close(descriptor)
        }
    }
}
