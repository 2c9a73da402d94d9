import CLibPNG
import TestSupport
import Testing

@testable import Photographs

@Suite struct PNGTests {
    /// libpng reads the same pixels back.
    @Test(arguments: [(1, 1), (7, 5), (200, 150)]) func readsBack(width: Int, height: Int) throws {
        let picture = noisePicture(width: width, height: height)
        let file = try encodePNG(picture)
        var image = png_image()
        image.version = png_uint_32(PNG_IMAGE_VERSION)
        #expect(png_image_begin_read_from_memory(&image, file, file.count) != 0)
        #expect(image.format == png_uint_32(PNG_FORMAT_FLAG_COLOR))
        #expect((Int(image.width), Int(image.height)) == (width, height))
        var pixels = [UInt8](repeating: 0, count: 3 * width * height)
        #expect(png_image_finish_read(&image, nil, &pixels, 0, nil) != 0)
        #expect(pixels == picture.pixels)
    }

    @Test func smoothPicturesAreCompressed() throws {
        let picture = smoothPicture(width: 200, height: 150)
        #expect(try encodePNG(picture).count < picture.pixels.count / 2)
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
            // The top of the capital A: dots 2 to 4 of five.
            let caption = 3 * ((top + 18) * sheet.width + left)
            #expect((0..<5).map { sheet.pixels[caption + 3 * $0] } == [255, 0, 0, 0, 255])
        }
    }
}
