import Foundation
import TestSupport
import Testing

@testable import Photographs

@Suite struct FormatTests {
    private func failure(_ content: [UInt8], _ name: String) -> ImageError? {
        #expect(throws: ImageError.self) { try decodeImage(content, name: name) }
    }

    @Test(arguments: [
        ("a.jpg", true), ("a.JPG", true), ("a.Jpeg", true), ("a.jpe", true), ("a.JFIF", true),
        ("a.png", true), ("a.PnG", true), ("a.webp", true), ("a.WEBP", true), ("a.b.jpg", true),
        (".jpg", false), ("jpg", false), ("a.jpg2", false), ("a.gif", false), ("a.heic", false),
        ("a.jp", false), ("ajpg", false), ("a\u{0E}jpg", false), ("", false),
    ]) func names(name: String, isPhotograph: Bool) {
        let found = Array(name.utf8).withUnsafeBytes { isPhotographName($0) }
        #expect(found == isPhotograph)
    }

    /// Class folders hold photographs of every format.
    @Test func folders() throws {
        let folder = try TemporaryFolder()
        let names = ["1.jpg", "2.JPEG", "3.jpe", "4.jfif", "5.png", "6.WebP"]
        for name in names + ["7.gif", "8.txt"] { try folder.write([1], "set/a/" + name) }
        try folder.write([1], "set/b/1.png")
        let set = try Dataset.load(root: folder.file("set"), validationFraction: 0).training
        #expect(set.files.map(\.path) == names.map { "a/" + $0 } + ["b/1.png"])
    }

    /// The content counts, whatever the name says.
    @Test(arguments: ["a.jpg", "a.png", "a.webp", "a.heic", "a.mp4", "a"]) func misnamed(name: String) throws
    {
        let picture = noisePicture(width: 9, height: 8)
        let webP = try WebPFile.encode(picture.pixels, width: 9, height: 8)
        for file in [try encodePNG(picture), webP] { #expect(try decodeImage(file, name: name) == picture) }
        let jpeg = try encodeJPEG(picture)
        #expect(try decodeImage(jpeg, name: name) == decodeJPEG(jpeg))
    }

    /// Each kind by its first bytes, under a photograph's name.
    @Test(arguments: [
        ("\0\0\0\u{18}ftypheic\0\0\0\0mif1heic", "a HEIC picture", "magick x.jpg x-converted.jpg"),
        ("\0\0\0\u{18}ftypmif1\0\0\0\0mif1heic", "a HEIC picture", "magick"),
        ("\0\0\0\u{1C}ftypmif1\0\0\0\0mif1avifmiaf", "an AVIF picture", "magick"),
        ("\0\0\0\u{18}ftypavif\0\0\0\0mif1miaf", "an AVIF picture", "magick"),
        ("\0\0\0\u{18}ftypcrx \0\0\0\u{01}crx isom", "a camera's RAW file", "magick"),
        (
            "\0\0\0\u{18}ftypisom\0\0\u{02}\0isommp41", "a video",
            "ffmpeg -i x.jpg -vf fps=1 x-converted-%04d.jpg"
        ),
        ("\0\0\0\u{14}ftypqt  \0\0\0\0qt  ", "a video", "ffmpeg"),
        ("II*\0\u{10}\0\0\0CR\u{02}\0", "a camera's RAW file", "magick"),
        ("IIU\0\u{18}\0\0\0", "a camera's RAW file", "magick"),
        ("FUJIFILMCCD-RAW 0201", "a camera's RAW file", "magick"),
        ("II*\0\u{08}\0\0\0\u{10}\0", "a TIFF picture", "magick 'x.jpg[0]' x-converted.jpg"),
        ("MM\0*\0\0\0\u{08}", "a TIFF picture", "magick"),
        ("GIF89a\u{01}\0", "a GIF picture", "magick 'x.jpg[0]'"),
        ("GIF87a\u{01}\0", "a GIF picture", "magick"),
        ("BM\u{46}\0\0\0\0\0\0\0\u{36}", "a BMP picture", "magick"),
        ("RIFF\u{10}\0\0\0AVI LIST", "a video", "ffmpeg"), ("FLV\u{01}\u{05}", "a video", "ffmpeg"),
        ("\0\0\0\u{0C}JXL \r\n", "a JPEG XL picture", "magick"), ("%PDF-1.7", "a PDF document", "magick"),
        ("\0\0\0\u{0C}jP  \r\n", "a JPEG 2000 picture", "magick"),
        ("8BPS\0\u{01}", "a Photoshop file", "magick"),
        ("<?xml version='1.0'?><svg>", "an SVG drawing", "magick"),
        ("\n<!DOCTYPE html><html>", "a web page", "Download the picture again"),
        ("version https://git-lfs.github.com/spec/v1", "a Git LFS pointer", "git lfs pull"),
    ]) func byContent(content: String, kind: String, remedy: String) {
        let error = failure(Array(content.utf8), "x.jpg")
        #expect(error?.kind == .otherFormat)
        let text = error?.description ?? ""
        #expect(text.hasPrefix("x.jpg: not a JPEG, PNG or WebP file; it is \(kind)"), "\(text)")
        #expect(text.contains(remedy), "\(text)")
    }

    @Test func matroska() {
        #expect(failure([0x1A, 0x45, 0xDF, 0xA3, 1], "x.png")?.detail.hasPrefix("a video. ") == true)
    }

    /// Each kind by its name, if the first bytes say nothing or only that it is TIFF.
    @Test(arguments: [
        ("d/IMG 1.HEIC", "a HEIC picture. Convert it: magick 'd/IMG 1.HEIC' 'd/IMG 1.jpg'"),
        ("a.b/x.heif", "a HEIC picture. Convert it: magick a.b/x.heif a.b/x.jpg"),
        ("x.avif", "an AVIF picture. Convert it: magick x.avif x.jpg"),
        ("x.CR2", "a camera's RAW file. Convert it: magick x.CR2 x.jpg"),
        ("x.nef", "a camera's RAW file. Convert it: magick x.nef x.jpg"),
        ("x.arw", "a camera's RAW file. Convert it: magick x.arw x.jpg"),
        ("it's.dng", "a camera's RAW file. Convert it: magick 'it'\\''s.dng' 'it'\\''s.jpg'"),
        ("x.tiff", "a TIFF picture. Convert it: magick 'x.tiff[0]' x.jpg"),
        ("x.gif", "a GIF picture. Convert it: magick 'x.gif[0]' x.jpg"),
        ("x.bmp", "a BMP picture. Convert it: magick x.bmp x.jpg"),
        ("x.MOV", "a video. Convert it: ffmpeg -i x.MOV -vf fps=1 x-%04d.jpg"),
        ("x.mp4", "a video. Convert it: ffmpeg -i x.mp4 -vf fps=1 x-%04d.jpg"),
    ]) func byName(name: String, detail: String) {
        #expect(failure([1, 2, 3], name) == ImageError(.otherFormat, file: name, detail: detail))
        let tiff = failure(Array("II*\0\u{08}\0\0\0".utf8), name)
        let isRaw = detail.hasPrefix("a camera's RAW file")
        #expect(tiff?.detail.hasPrefix(isRaw ? "a camera's RAW file" : "a TIFF picture") == true)
    }

    @Test func unknown() {
        for name in ["x.jpg", "x", "folder.gif/x", "x.txt"] {
            let error = failure([1, 0xAB, 3, 4, 5], name)
            #expect(error == ImageError(.unknownFormat, file: name, detail: "it begins with 01 AB 03 04"))
        }
        #expect(failure([], "x.png") == ImageError(.empty, file: "x.png"))
    }

    /// A short file with the beginning of a signature is refused like any other.
    @Test func shortFiles() {
        let starts: [[UInt8]] = [
            Array("RIFF\0\0\0\0WEBP".utf8), Array("\0\0\0\u{18}ftypheic".utf8), Array("II*\0".utf8),
            [0xFF, 0xD8, 0xFF], [0x89, 0x50, 0x4E, 0x47],
        ]
        for start in starts {
            for count in 1...start.count { _ = failure(Array(start[..<count]), "x") }
        }
    }

    /// A photograph of 108 megapixels, which libjpeg decodes at an eighth of its size.
    @Test func largeJPEG() throws {
        let row = (0..<12_000).map { UInt8($0 * 255 / 12_000) }
        var samples: [UInt8] = []
        samples.reserveCapacity(12_000 * 9000)
        for _ in 0..<9000 { samples += row }
        for isProgressive in [false, true] {
            let file = try encodeJPEG(
                samples, width: 12_000, height: 9000, stored: .grey, quality: 90, progressive: isProgressive)
            let decoded = try decodeImage(file, shortSide: 256)
            #expect((decoded.width, decoded.height) == (341, 256))
            let middle = decoded.pixels[3 * 341 * 128..<3 * 341 * 129].enumerated()
            #expect(middle.allSatisfy { abs(Int($1) - ($0 / 3 * 2 + 1) * 255 / 682) <= 4 })
        }
    }

    /// A reduced picture keeps the proportions of the file: 8001 × 6001 at an eighth are 1001 × 751.
    @Test func reducedProportions() throws {
        let samples = [UInt8](repeating: 90, count: 8001 * 6001)
        let file = try encodeJPEG(samples, width: 8001, height: 6001, stored: .grey, quality: 50)
        for (shortSide, width) in [(224, 298), (250, 333), (600, 799), (751, 1001)] {
            let decoded = try decodeImage(file, shortSide: shortSide)
            #expect((decoded.width, decoded.height) == (width, shortSide))
        }
    }
}
