import Basics
import Configuration
import Evaluation
import Foundation
import Models
import Photographs
import Randomness

/// Defines a reader under test: its inputs, and what must be true of its results.
protocol Target: Sendable {
    /// Returns the bytes of input `index`, which depend only on the arguments.
    func input(seed: UInt64, index: UInt64) -> [UInt8]
    /// Reads an input.
    ///
    /// - Returns: whether it was accepted; false if the reader refused it with an error of its own type.
    /// - Throws: `Finding`, or an error that the reader should not have thrown.
    func check(_ bytes: [UInt8]) throws -> Bool
}

/// Reports a result that contradicts itself.
struct Finding: Error, CustomStringConvertible { let description: String }

let targets: [String: any Target] = [
    "safetensors": SafetensorsTarget(), "configuration": ConfigurationTarget(),
    "jpeg": JPEGTarget(), "png": PNGTarget(), "webp": WebPTarget(),
    "posteriors": PosteriorsTarget(), "archive": ArchiveTarget(), "abort": AbortTarget(),
]

/// Aborts at about one input in a thousand, to test that the watching process notices.
struct AbortTarget: Target {
    func input(seed: UInt64, index: UInt64) -> [UInt8] {
        var random = Philox(seed: seed, purpose: .fuzzing, step: index)
        return [UInt8(random.integer(below: 256)), UInt8(random.integer(below: 4))]
    }

    func check(_ bytes: [UInt8]) throws -> Bool {
        if bytes == [7, 3] { abort() }
        return true
    }
}

/// Holds an unnamed file, in memory if possible, because thousands are written each second.
final class MemoryFile: Sendable {
    private let descriptor: Int32
    var path: String { "/proc/self/fd/\(descriptor)" }

    init() {
        let folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NSTemporaryDirectory()
        let name = "\(folder)/fuzz-\(UUID().uuidString)"
        descriptor = open(name, O_RDWR | O_CREAT | O_EXCL, 0o600)
        unlink(name)
    }

    deinit { close(descriptor) }

    func write(_ bytes: [UInt8]) {
        ftruncate(descriptor, 0)
        pwrite(descriptor, bytes, bytes.count, 0)
    }
}

// MARK: - Checkpoints

struct SafetensorsTarget: Target {
    private let file = MemoryFile()

    private static let ours = """
        {"__metadata__":{"model":"4,M,F3","classes":"[\\"a\\",\\"b\\"]","image_size":"4","short_side":"5",\
        "mean":"[0.5,0.5,0.5]","deviation":"[0.25,0.25,0.25]","epoch":"1","step":"10","seed":"1"},\
        "classifier.0.bias":{"dtype":"F32","shape":[3],"data_offsets":[0,12]},\
        "features.0.bias":{"dtype":"F16","shape":[4],"data_offsets":[12,20]},\
        "features.0.weight":{"dtype":"F64","shape":[2,2],"data_offsets":[20,52]}}
        """

    func input(seed: UInt64, index: UInt64) -> [UInt8] {
        var mutation = Mutation(
            seed: seed, index: index,
            words: [
                "{", "}", "[", "]", "\"", ",", ":", "\\u0000", "\\ud800", "null", "true", "BF16", "U8",
                "data_offsets", "__metadata__", "1e5",
            ])
        var (header, data) =
            mutation.oneIn(2)
            ? (Array(SafetensorsTarget.ours.utf8), (0..<52).map { UInt8($0 * 5) }) : foreign(&mutation)
        if !mutation.oneIn(3) { mutation.apply(to: &header, other: Array(SafetensorsTarget.ours.utf8)) }
        if mutation.oneIn(8) { mutation.apply(to: &data, other: header) }
        let claimed =
            mutation.oneIn(16)
            ? UInt64(mutation.random.nextWord()) << UInt64(mutation.number(below: 33)) : UInt64(header.count)
        return (0..<8).map { UInt8(truncatingIfNeeded: claimed >> (8 * $0)) } + header + data
    }

    /// Returns a valid file with torchvision's names and nearly valid shapes, from which a model is inferred.
    private func foreign(_ mutation: inout Mutation) -> ([UInt8], [UInt8]) {
        let large = [0, 1, 2, 3, 7, 64, 4096, 65_536, 1 << 31, 1 << 61, Int.max]
        func size(_ usual: Int) -> Int { mutation.oneIn(4) ? mutation.choose(large) : usual }
        var shapes: [(String, [Int])] = []
        var index = 0
        for _ in 0..<1 + mutation.number(below: mutation.oneIn(50) ? 80 : 3) {
            shapes.append(("features.\(index).weight", [size(2), size(2), 3, 3]))
            index += 2 + mutation.number(below: 2)
        }
        for layer in 0..<1 + mutation.number(below: 2) {
            shapes.append(("classifier.\(layer * 3).weight", [size(2), size(2)]))
        }
        var offset = 0
        var entries: [String] = []
        for (name, shape) in shapes {
            // Only empty tensors have sizes whose product exceeds the file.
            var shape = shape
            let count = shape.reduce(1.0) { $0 * Double($1) }
            if count > 4096 { shape[mutation.number(below: 2)] = 0 }
            let bytes = shape.contains(0) ? 0 : shape.reduce(4, *)
            guard bytes <= 16_384 else { continue }
            let offsets = "[\(offset),\(offset + bytes)]"
            entries.append(#""\#(name)":{"dtype":"F32","shape":\#(shape),"data_offsets":\#(offsets)}"#)
            offset += bytes
        }
        return (Array("{\(entries.joined(separator: ","))}".utf8), [UInt8](repeating: 0x3C, count: offset))
    }

    func check(_ bytes: [UInt8]) throws -> Bool {
        file.write(bytes)
        let opened: SafetensorsFile
        do { opened = try SafetensorsFile.read(file.path) } catch is FileError { return false }
        for (name, tensor) in opened.tensors {
            do {
                let count = try opened.floats(name).count
                guard count == tensor.count else {
                    throw Finding(description: "\(name): \(count) elements, \(tensor.count) in its shape")
                }
            } catch is FileError {}  // Its type is not supported.
        }
        do {
            let description = try Checkpoint(file.path).description
            guard description.classes.count >= 2, description.imageSize >= 1, description.shortSide >= 1,
                description.imageSize <= 16_384,
                description.imageSize >= description.architecture.smallestImage,
                description.normalization.deviation.allSatisfy({ $0 > 0 })
            else { throw Finding(description: "\(description)") }
        } catch is FileError { return false }
        return true
    }
}

// MARK: - Configurations

struct ConfigurationTarget: Target {
    private static let texts = [
        TrainingConfiguration.text(TrainingOptions()),
        "# what I use\nmodel: 32,M,F16   # small\nbatch: 128\n'epochs': 3\nshort-side: ~\n"
            + "data: >\n  /photographs\n  of birds\n",
        "{batch: 8, model: \"8,M\", learning-rate: 5e-2}",
        "%YAML 1.1\n---\n!!map\nseed: &s 18446744073709551615\nworkers: *s\n...\n",
    ]

    func input(seed: UInt64, index: UInt64) -> [UInt8] {
        var mutation = Mutation(
            seed: seed, index: index,
            words: [
                "[", "{", "- ", "? ", ": ", "&a ", "*a", "!!int ", "!x ", "|\n", ">\n", "'", "\"", "\\x",
                "\\u0000", "# ", "---\n", "...\n", "%TAG ! !\n", "\t", "\n", "\r", "\u{85}", "\u{2028}",
                "\u{FEFF}", "null", "~", ".inf", ".nan", "<<: ", "batch: ", "data: ", "0x10", "1_000", "1:30",
            ])
        var bytes = Array(mutation.choose(ConfigurationTarget.texts).utf8)
        let other = Array(mutation.choose(ConfigurationTarget.texts).utf8)
        mutation.apply(to: &bytes, other: other)
        if mutation.oneIn(100) {
            // Deep or wide documents may exhaust the stack or take long.
            let piece = Array(
                mutation.choose(["[", "{a: ", "- ", "? ", "[*a,*a],", "\"\\", "a: &a [*a]\n", "&a", "!", "'"])
                    .utf8)
            bytes += (0..<mutation.number(below: 60_000) / piece.count).flatMap { _ in piece }
        }
        return bytes
    }

    func check(_ bytes: [UInt8]) throws -> Bool {
        var read = TrainingConfiguration()
        do throws(TrainingError) {
            try read.read(bytes, path: "configuration")
            try read.validate()
        } catch {
            guard error.isUsage, error.description.hasPrefix("configuration:") else {
                throw Finding(description: "\(error)")
            }
            return false
        }
        // Writing and reading must give the same options.
        var again = TrainingConfiguration()
        try again.read(Array(TrainingConfiguration.text(read.options).utf8), path: "again")
        var expected = read.options
        expected.output = ""
        guard again.options == expected else {
            throw Finding(description: "\(again.options) was written as \(expected)")
        }
        return true
    }
}

// MARK: - Kept posteriors

/// Reads an array and the names of its axes from one input: the array's length in two bytes, array, names.
struct PosteriorsTarget: Target {
    private let array = MemoryFile()
    private let names = MemoryFile()

    private static let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2, 2), }"
    private static let sidecar = """
        {"models":["run"],"classes":["a","b"],"files":["1.jpg","2.jpg"],"labels":[0,1],\
        "checksum":"ab79fd72355a39c5","sources":[{"model":0,"short_side":32,"dense":false,"mirrored":false,"seconds":0.5},\
        {"model":0,"short_side":36,"dense":true,"mirrored":true,"seconds":1.25}],\
        "unknown_classes":[[]],"left_out":["3.jpg: empty"]}
        """

    func input(seed: UInt64, index: UInt64) -> [UInt8] {
        var mutation = Mutation(
            seed: seed, index: index,
            words: [
                "'descr': '<f8'", "True", "(", ")", ",", "'", "{", "}", "[", "]", "\"", ":", "null", "-1",
                "-9223372036854775808", "1e300", "\"models\":[]", "\"a\"", "\\ud800",
            ])
        let values: [Float] = [1, 0, 0.25, 0.75, 0.5, 0.5, 0, 1]
        var header = Array(PosteriorsTarget.header.utf8)
        var data = values.withUnsafeBytes { Array($0) }
        var sidecar = Array(PosteriorsTarget.sidecar.utf8)
        switch mutation.number(below: 4) {
        case 0: mutation.apply(to: &header, other: sidecar)
        case 1: mutation.apply(to: &data, other: header)
        default: mutation.apply(to: &sidecar, other: header)
        }
        let length = mutation.oneIn(16) ? mutation.number(below: 65_536) : header.count
        let magic: [UInt8] =
            [0x93] + Array("NUMPY".utf8) + [mutation.oneIn(16) ? UInt8(mutation.number(below: 4)) : 1, 0]
        let array = magic + [UInt8(length & 255), UInt8(length >> 8)] + header + data
        return [UInt8(array.count & 255), UInt8(array.count >> 8 & 255)] + array + sidecar
    }

    func check(_ bytes: [UInt8]) throws -> Bool {
        let rest = bytes.dropFirst(2)
        let length = bytes.count < 2 ? 0 : min(rest.count, Int(bytes[0]) | Int(bytes[1]) << 8)
        array.write(Array(rest.prefix(length)))
        // Foundation leaks a page for each empty file that it reads, so this one is never empty.
        names.write(Array(rest.dropFirst(length)) + [UInt8(ascii: "\n")])
        let read: Posteriors
        do { read = try Posteriors.read(array.path, names: names.path) } catch is FileError {
            return false
        }
        // Every accepted file must be usable.
        let table = ViewTable(read)
        guard table.final.metrics.images == read.files.count,
            read.labels.allSatisfy(read.classes.indices.contains),
            GreedyOrder(table).steps.count == read.sources.count
        else { throw Finding(description: "\(read)") }
        return true
    }
}

// MARK: - Photographs

struct JPEGTarget: PictureTarget {
    static let words = [
        "\u{FF}\u{D8}", "\u{FF}\u{D9}", "\u{FF}\u{DA}", "\u{FF}\u{C4}", "\u{FF}\u{DD}\0\u{4}\0\u{1}",
        "Exif\0\0MM\0*", "Adobe", "JFIF",
    ]
    let file = MemoryFile()
    let seeds: [[UInt8]]

    init() {
        var random = Philox(seed: 1, purpose: .fuzzing)
        var seeds: [[UInt8]] = []
        for stored in JPEGColour.allCases {
            for (width, height) in [(16, 16), (37, 21)] {
                let pixels = (0..<width * height * stored.channels).map {
                    UInt8(($0 * 7 + random.integer(below: 64)) & 255)
                }
                for progressive in [false, true] {
                    let encoded = try? encodeJPEG(
                        pixels, width: width, height: height, stored: stored, quality: 75,
                        progressive: progressive)
                    guard let encoded else { continue }
                    let orientation = JPEGTarget.orientation(random.integer(below: 10))
                    seeds += [encoded, Array(encoded[..<2]) + orientation + encoded[2...]]
                }
            }
        }
        self.seeds = seeds
    }

    /// Returns an EXIF segment with one entry, in either byte order.
    private static func orientation(_ value: Int) -> [UInt8] {
        let little: [UInt8] = [
            0x49, 0x49, 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3,
            0, 1, 0, 0, 0, UInt8(value), 0, 0, 0, 0, 0, 0, 0,
        ]
        return [0xFF, 0xE1, 0, 34] + Array("Exif\0\0".utf8) + (value % 2 == 0 ? exif(value) : little)
    }

    func damage(_ bytes: inout [UInt8], _ other: [UInt8], _ mutation: inout Mutation) {
        mutation.apply(to: &bytes, other: other)
        if mutation.oneIn(3) { header(&bytes, &mutation) }
    }

    /// Damages the bytes after a marker: tables, sizes, components, scans.
    private func header(_ bytes: inout [UInt8], _ mutation: inout Mutation) {
        let markers = bytes.indices.dropLast(24).filter {
            bytes[$0] == 0xFF && bytes[$0 + 1] >= 0xC0 && bytes[$0 + 1] != 0xFF
        }
        guard !markers.isEmpty else { return }
        let place = mutation.choose(markers) + 1 + mutation.number(below: 20)
        let extremes: [UInt8] = [0, 1, 2, 4, 0x11, 0x22, 0x44, 0xFF]
        bytes[place] = mutation.oneIn(2) ? UInt8(mutation.number(below: 256)) : mutation.choose(extremes)
    }
}
