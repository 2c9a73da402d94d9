import Basics
import Foundation

/// The formats that are read, recognised by a file's first bytes and not by its name.
enum PictureFormat: CaseIterable {
    case jpeg, png, webP

    init?(content: UnsafeRawBufferPointer) {
        let found = Self.allCases.first { $0.signature.matches(content) }
        guard let found else { return nil }
        self = found
    }

    /// Recognises a file whose name says nothing, and asks for more of JPEG's first bytes.
    init?(unnamed content: UnsafeRawBufferPointer) {
        self.init(content: content)
        if self == .jpeg, content.count < 3 || content[2] != 0xFF { return nil }
    }

    private var signature: Signature {
        switch self {
        case .jpeg: Signature([0xFF, 0xD8])
        case .png: Signature([0x89, 0x50, 0x4E, 0x47])
        case .webP: Signature("RIFF", 8, "WEBP")
        }
    }
}

/// Whether a file's name ends as a photograph's does, in upper or lower case, with something before it.
func isPhotographName(_ name: UnsafeRawBufferPointer) -> Bool {
    photographEndings.contains { ending in
        let length = ending.utf8CodeUnitCount
        guard name.count > length else { return false }
        let start = name.count - length
        // Bit 5 makes ASCII letters lower case.
        return name[start] == UInt8(ascii: ".")
            && (1..<length).allSatisfy { name[start + $0] | 0x20 == ending.utf8Start[$0] }
    }
}

private let photographEndings: [StaticString] = [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp"]

/// The ends of names of files that are no photographs, and are not opened to see what they are.
private let plainEndings: Set<String> = [
    ".aae", ".bz2", ".cfg", ".cls", ".css", ".csv", ".db", ".doc", ".docx", ".feather", ".gz", ".h5", ".hdf5",
    ".htm", ".html", ".index", ".ini", ".ipynb", ".js", ".json", ".jsonl", ".lock", ".log", ".m4a", ".mat",
    ".md", ".mp3", ".npy", ".npz", ".odt", ".onnx", ".parquet", ".pickle", ".pkl", ".pt", ".pth", ".py",
    ".rar", ".rtf", ".safetensors", ".sh", ".sqlite", ".tar", ".tfrecord", ".tgz", ".tsv", ".txt", ".wav",
    ".xls", ".xlsx", ".xml", ".xmp", ".xz", ".yaml", ".yml", ".zip", ".zst", ".7z",
]

/// What a file is that is not called like a photograph.
enum UnnamedFile {
    case photograph
    case other(FileKind)

    /// Reads the first bytes of a file whose name does not say that it is none of the photographs.
    ///
    /// - Parameters:
    ///   - ending: the end of its name, as `FolderListing.kind` gives it.
    ///   - open: opens the file; nil if it cannot be opened.
    init(ending: String, open: () -> Int32?) {
        if plainEndings.contains(ending) {
            self = .other(FileKind(ending))
            return
        }
        var start = [UInt8](repeating: 0, count: 512)
        var count = 0
        if let descriptor = open() {
            count = max(0, read(descriptor, &start, 512))
            close(descriptor)
        }
        self = start.withUnsafeBytes { bytes in
            let content = UnsafeRawBufferPointer(rebasing: bytes[..<count])
            if PictureFormat(unnamed: content) != nil { return .photograph }
            let format = ForeignFormat.recognise(content, name: "x" + ending)
            return .other(FileKind(ending, format?.holdsPhotographs == true ? format : nil))
        }
    }
}

/// Holds the bytes that files of a kind have at certain positions.
private struct Signature {
    private let parts: [(offset: Int, bytes: [UInt8])]

    /// Takes the bytes at the beginning.
    init(_ bytes: [UInt8]) { parts = [(0, bytes)] }

    /// Takes text at the beginning.
    init(_ text: String) { self.init(Array(text.utf8)) }

    /// Takes texts at the beginning and further on.
    init(_ first: String, _ offset: Int, _ second: String) {
        parts = [(0, Array(first.utf8)), (offset, Array(second.utf8))]
    }

    func matches(_ content: UnsafeRawBufferPointer) -> Bool {
        parts.allSatisfy { offset, bytes in
            content.count >= offset + bytes.count
                && content[offset..<offset + bytes.count].elementsEqual(bytes)
        }
    }
}

/// Describes a kind of file that is not read, and how it becomes one that is.
struct ForeignFormat: Hashable, Sendable {
    /// Says how a file is converted.
    enum Conversion: Sendable, Equatable {
        /// With ImageMagick; of several pictures in a file, the first one.
        case picture, firstPicture
        /// With ffmpeg, one frame a second.
        case video
        /// Not at all; the text says what to do.
        case none(String)
    }

    /// Such as "a HEIC picture".
    let description: String
    /// What one file and several files are called behind their number, such as "HEIC photographs".
    let one, plural: String
    let conversion: Conversion
    /// The ends of such files' names, in lower case without the dot.
    let endings: [String]
    /// Whether such files are expected to be photographs, and not documents.
    let holdsPhotographs: Bool

    /// - Parameter noun: what one file is called behind a number; nil if such files are no photographs.
    init(_ description: String, _ noun: String?, _ conversion: Conversion, _ endings: String = "") {
        self.description = description
        one = noun ?? description
        plural = one.hasSuffix(" photograph") || one.hasSuffix(" file") || one == "video" ? one + "s" : one
        self.conversion = conversion
        self.endings = endings.split(separator: " ").map(String.init)
        holdsPhotographs = noun != nil
    }

    static func == (left: ForeignFormat, right: ForeignFormat) -> Bool {
        left.description == right.description
    }

    func hash(into hasher: inout Hasher) { hasher.combine(description) }

    /// Returns a number of such files: `120 HEIC photographs`.
    func counted(_ count: Int) -> String { count == 1 ? "1 \(one)" : "\(count) \(plural)" }

    static let heic = ForeignFormat("a HEIC picture", "HEIC photograph", .picture, "heic heif hif")
    static let avif = ForeignFormat("an AVIF picture", "AVIF photograph", .picture, "avif")
    static let raw = ForeignFormat(
        "a camera's RAW file", "RAW file", .picture,
        "cr2 cr3 crw nef nrw arw srf sr2 dng orf rw2 rwl raf pef srw "
            + "3fr fff iiq mrw x3f erf kdc dcr mef mos raw"
    )
    static let tiff = ForeignFormat("a TIFF picture", "TIFF photograph", .firstPicture, "tif tiff")
    static let gif = ForeignFormat("a GIF picture", "GIF photograph", .firstPicture, "gif")
    static let bmp = ForeignFormat("a BMP picture", "BMP photograph", .picture, "bmp dib")
    static let jpegXL = ForeignFormat("a JPEG XL picture", "JPEG XL photograph", .picture, "jxl")
    static let jpeg2000 = ForeignFormat(
        "a JPEG 2000 picture", "JPEG 2000 photograph", .picture, "jp2 j2k j2c jpf jpx")
    static let photoshop = ForeignFormat("a Photoshop file", "Photoshop file", .firstPicture, "psd psb")
    static let pdf = ForeignFormat("a PDF document", nil, .firstPicture, "pdf")
    static let svg = ForeignFormat("an SVG drawing", nil, .picture, "svg svgz")
    static let portable = ForeignFormat("a PNM picture", "PNM photograph", .picture, "ppm pgm pbm pnm pam")
    static let video = ForeignFormat(
        "a video", "video", .video, "mp4 m4v mov qt avi mkv webm mpg mpeg 3gp 3g2 wmv asf flv mts m2ts ogv")
    static let webPage = ForeignFormat(
        "a web page", nil, .none("Download the picture again, or remove the file"))
    static let pointer = ForeignFormat(
        "a Git LFS pointer without its content", nil, .none("Fetch the content: git lfs pull"))

    private static let all = [
        heic, avif, raw, tiff, gif, bmp, jpegXL, jpeg2000, photoshop, pdf, svg, portable, video,
    ]

    private static let byEnding = Dictionary(
        uniqueKeysWithValues: all.flatMap { format in format.endings.map { ($0, format) } })

    /// Returns the format of photographs whose names end so, such as `.heic`.
    static func photographs(ending: String) -> ForeignFormat? {
        byEnding[String(ending.dropFirst())].flatMap { $0.holdsPhotographs ? $0 : nil }
    }

    /// Returns the format with a description.
    static func named(_ description: String) -> ForeignFormat? {
        all.first { $0.description == description }
    }

    /// Recognises a file by its first bytes, else by its name.
    static func recognise(_ content: UnsafeRawBufferPointer, name: String) -> ForeignFormat? {
        let named = name.split(separator: "/").last?.split(separator: ".").dropFirst().last
            .flatMap { byEnding[$0.lowercased()] }
        let found = recognise(content)
        // Most kinds of RAW are TIFF files by their first bytes.
        if found == tiff, named == raw { return raw }
        return found ?? named
    }

    private static func recognise(_ content: UnsafeRawBufferPointer) -> ForeignFormat? {
        if Signature("", 4, "ftyp").matches(content) { return mediaFile(content) }
        return signatures.first { $0.signature.matches(content) }?.format ?? text(content)
    }

    private static let signatures: [(signature: Signature, format: ForeignFormat)] = [
        // RAW comes before TIFF, because Canon's files are both.
        (Signature("II*\0", 8, "CR"), raw), (Signature("IIRO"), raw), (Signature("IIRS"), raw),
        (Signature("MMOR"), raw), (Signature("IIU\0"), raw), (Signature("FUJIFILMCCD-RAW"), raw),
        (Signature("II\u{1A}\0", 6, "HEAPCCDR"), raw), (Signature("\0MRM"), raw), (Signature("FOVb"), raw),
        (Signature("II*\0"), tiff), (Signature("MM\0*"), tiff), (Signature("II+\0"), tiff),
        (Signature("MM\0+"), tiff), (Signature("GIF87a"), gif), (Signature("GIF89a"), gif),
        // Four reserved bytes are zero.
        (Signature("BM", 6, "\0\0\0\0"), bmp), (Signature([0xFF, 0x0A]), jpegXL),
        (Signature("\0\0\0\u{0C}JXL "), jpegXL), (Signature("\0\0\0\u{0C}jP  "), jpeg2000),
        (Signature([0xFF, 0x4F, 0xFF, 0x51]), jpeg2000), (Signature("8BPS"), photoshop),
        (Signature("%PDF"), pdf), (Signature("P4\n"), portable), (Signature("P5\n"), portable),
        (Signature("P6\n"), portable), (Signature("P7\n"), portable), (Signature("RIFF", 8, "AVI "), video),
        (Signature([0x1A, 0x45, 0xDF, 0xA3]), video), (Signature([0, 0, 1, 0xBA]), video),
        (Signature([0, 0, 1, 0xB3]), video), (Signature("FLV\u{01}"), video),
        (Signature([0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11]), video), (Signature("OggS"), video),
        (Signature("version https://git-lfs"), pointer),
    ]

    /// Recognises a file of ISO's container by the brands at its beginning.
    private static func mediaFile(_ content: UnsafeRawBufferPointer) -> ForeignFormat {
        let length = Int(UInt32(bigEndian: content.loadUnaligned(as: UInt32.self)))
        let end = min(max(12, length), content.count, 256)
        // The major brand, its version, and the compatible brands.
        let brands = stride(from: 8, through: end - 4, by: 4).filter { $0 != 12 }.map {
            String(decoding: content[$0..<$0 + 4], as: UTF8.self)
        }
        if brands.contains("avif") || brands.contains("avis") { return avif }
        let major = brands.first ?? ""
        if major == "crx " { return raw }
        let still = ["heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "mif2", "msf1"]
        return still.contains(major) ? heic : video
    }

    /// Recognises web pages and drawings, which begin with a tag.
    private static func text(_ content: UnsafeRawBufferPointer) -> ForeignFormat? {
        let start = String(decoding: content.prefix(512), as: UTF8.self).lowercased()
            .drop { $0.isWhitespace || $0 == "\u{FEFF}" }
        guard start.first == "<" else { return nil }
        if start.contains("<svg") { return svg }
        return start.hasPrefix("<!doctype html") || start.contains("<html") ? webPage : nil
    }

    /// Returns the error for a file that is of none of the formats that are read.
    static func error(_ content: UnsafeRawBufferPointer, file: String) -> ImageError {
        guard let format = recognise(content, name: file) else {
            let bytes = content.prefix(4).map {
                ($0 < 16 ? "0" : "") + String($0, radix: 16, uppercase: true)
            }
            return ImageError(
                .unknownFormat, file: file, detail: "it begins with \(bytes.joined(separator: " "))")
        }
        return ImageError(.otherFormat, file: file, detail: format.description + ". " + format.remedy(file))
    }

    /// Returns what to do about a file.
    private func remedy(_ file: String) -> String {
        let slash = file.lastIndex(of: "/")
        let name = slash.map { file[file.index(after: $0)...] } ?? file[...]
        let dot = name.dropFirst().lastIndex(of: ".")
        let stem = String(dot.map { file[..<$0] } ?? file[...])
        // A photograph's name on something else must not be its own target.
        let isMisnamed = stem + ".jpg" == file
        let target = isMisnamed ? stem + "-converted" : stem
        if case .none(let text) = conversion { return text }
        return "Convert it: " + command(file: file, target: target)
    }

    /// Returns the command that converts one file.
    ///
    /// - Parameter target: the path of the result without its ending; nil appends to the file's own.
    func command(file: String, target: String? = nil) -> String {
        let target = target ?? file
        return switch conversion {
        case .picture: "magick \(shellQuoted(file)) \(shellQuoted(target + ".jpg"))"
        case .firstPicture: "magick \(shellQuoted(file + "[0]")) \(shellQuoted(target + ".jpg"))"
        case .video: "ffmpeg -i \(shellQuoted(file)) -vf fps=1 \(shellQuoted(target + "-%04d.jpg"))"
        case .none(let text): text
        }
    }

    /// Returns the command that converts all files in folders whose names end so.
    ///
    /// The ends stay in the names of the results, so that nothing is overwritten.
    func command(folders: [String], endings: [String]) -> String {
        let patterns = endings.map { "-iname " + shellQuoted("*" + $0) }
        let names = patterns.count == 1 ? patterns[0] : "\\( " + patterns.joined(separator: " -o ") + " \\)"
        let line =
            switch conversion {
            case .picture: #"magick "$1" "$1.jpg""#
            case .firstPicture: #"magick "$1[0]" "$1.jpg""#
            case .video: #"ffmpeg -nostdin -i "$1" -vf fps=1 "$1-%04d.jpg""#
            case .none(let text): text
            }
        let places = folders.map(shellQuoted).joined(separator: " ")
        return "find \(places) \(names) -exec sh -c '\(line)' sh {} \\;"
    }
}
