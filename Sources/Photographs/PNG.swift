import CLibPNG

/// Encodes a picture as a PNG file of 8 bits a channel.
///
/// - Throws: `ImageError` if libpng has too little memory or the picture is larger than the format allows.
public func encodePNG(_ picture: DecodedImage) throws -> [UInt8] {
    var image = png_image()
    image.version = png_uint_32(PNG_IMAGE_VERSION)
    image.width = png_uint_32(picture.width)
    image.height = png_uint_32(picture.height)
    image.format = png_uint_32(PNG_FORMAT_FLAG_COLOR)
    // Data that cannot be compressed grows by less than this.
    var count = picture.pixels.count + picture.pixels.count / 4 + picture.height + 4096
    var file = [UInt8](repeating: 0, count: count)
    guard png_image_write_to_memory(&image, &file, &count, 0, picture.pixels, 0, nil) != 0 else {
        let message = withUnsafeBytes(of: image.message) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        throw ImageError(.unreadable, file: "picture to be written as PNG", detail: message)
    }
    return Array(file[..<count])
}
