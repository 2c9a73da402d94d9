import TestSupport
import Testing

@testable import Photographs

@Suite struct PNGTests {
    /// Published check values of both sums.
    @Test func checksums() {
        #expect(crc32(Array("123456789".utf8)) == 0xCBF4_3926)
        #expect(adler32(Array("Wikipedia".utf8)) == 0x11E6_0398)
        #expect(crc32([]) == 0 && adler32([]) == 1)
    }

    /// Reads the file back by the format's own rules: chunks with right sums, stored blocks that hold the
    /// rows.
    @Test(arguments: [(1, 1), (7, 5), (200, 150)]) func readsBack(width: Int, height: Int) throws {
        let picture = noisePicture(width: width, height: height)
        let file = encodePNG(picture)
        #expect(file.prefix(8) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A])
        func number(_ at: Int) -> Int { file[at..<at + 4].reduce(0) { $0 << 8 | Int($1) } }
        var chunks: [String: [UInt8]] = [:]
        var at = 8
        while at < file.count {
            let count = number(at)
            chunks[String(decoding: file[at + 4..<at + 8], as: UTF8.self)] = Array(
                file[at + 8..<at + 8 + count])
            #expect(number(at + 8 + count) == Int(crc32(Array(file[at + 4..<at + 8 + count]))))
            at += 12 + count
        }
        #expect(at == file.count && Set(chunks.keys) == ["IHDR", "IDAT", "IEND"])
        let header = try #require(chunks["IHDR"])
        #expect(header.suffix(5) == [8, 2, 0, 0, 0] && Int(header[3]) == width && Int(header[7]) == height)
        let stream = try #require(chunks["IDAT"])
        #expect((Int(stream[0]) << 8 | Int(stream[1])) % 31 == 0)
        var rows: [UInt8] = []
        var block = 2
        var isLast = false
        while !isLast {
            isLast = stream[block] == 1
            let count = Int(stream[block + 1]) | Int(stream[block + 2]) << 8
            #expect(stream[block + 3] == ~stream[block + 1] && stream[block + 4] == ~stream[block + 2])
            rows += stream[block + 5..<block + 5 + count]
            block += 5 + count
        }
        #expect(stream.count == block + 4)
        #expect(rows.count == height * (1 + 3 * width))
        for y in 0..<height {
            let start = y * (1 + 3 * width)
            #expect(rows[start] == 0)
            #expect(
                rows[start + 1..<start + 1 + 3 * width] == picture.pixels[3 * y * width..<3 * (y + 1) * width]
            )
        }
    }

    /// A caption stays below its panel and changes nothing of the panels.
    @Test func sheetKeepsItsPanels() {
        let panels = (0..<5).map {
            (image: noisePicture(width: 20, height: 16, seed: UInt64($0 + 1)), caption: "A longer")
        }
        let sheet = ContactSheet.draw(panels, columns: 2)
        #expect(sheet.width == 2 * 24 + 4 && sheet.height == 3 * (16 + 4 + 20) + 4)
        for (index, panel) in panels.enumerated() {
            let (left, top) = (4 + index % 2 * 24, 4 + index / 2 * 40)
            for y in 0..<16 {
                let start = 3 * ((top + y) * sheet.width + left)
                #expect(sheet.pixels[start..<start + 60] == panel.image.pixels[60 * y..<60 * (y + 1)])
            }
            // the capital A's top: dots 2 to 4 of five
            let caption = 3 * ((top + 18) * sheet.width + left)
            #expect((0..<5).map { sheet.pixels[caption + 3 * $0] } == [255, 0, 0, 0, 255])
        }
    }
}
