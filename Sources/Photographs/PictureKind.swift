/// Says how a photograph's file stores its picture, read from the file's header.
struct PictureKind: Hashable, Sendable {
    enum Colour: String, Sendable { case grey, colour, palette, CMYK }

    let format: PictureFormat
    private(set) var colour = Colour.colour
    private(set) var isProgressive = false
    private(set) var isTransparent = false
    private(set) var hasWideSamples = false

    /// The format, with what is special about it: `JPEG, progressive`.
    var formatText: String {
        switch format {
        case .jpeg: isProgressive ? "JPEG, progressive" : "JPEG"
        case .png: hasWideSamples ? "PNG, 16 bits" : "PNG"
        case .webP: "WebP"
        }
    }

    /// The kind of colour: `grey`, `colour, transparent`.
    var colourText: String { colour.rawValue + (isTransparent ? ", transparent" : "") }

    /// - Parameter content: a file that has been decoded; nil if it is of no format that is read.
    init?(content: UnsafeRawBufferPointer) {
        guard let format = PictureFormat(content: content) else { return nil }
        self.format = format
        switch format {
        case .jpeg: readJPEG(content)
        case .png: readPNG(content)
        case .webP: readWebP(content)
        }
    }

    private mutating func readJPEG(_ content: UnsafeRawBufferPointer) {
        var place = 2
        while place + 9 < content.count {
            guard content[place] == 0xFF else {
                place += 1
                continue
            }
            let marker = content[place + 1]
            switch marker {
            case 0xFF: place += 1
            case 0xC0...0xCF where marker != 0xC4 && marker != 0xC8 && marker != 0xCC:
                let components = content[place + 9]
                colour = components == 1 ? .grey : components == 4 ? .CMYK : .colour
                isProgressive = marker & 3 == 2
                return
            case 0xD0...0xD9, 0x00, 0x01: place += 2
            default: place += 2 + Int(content[place + 2]) << 8 + Int(content[place + 3])
            }
        }
    }

    private mutating func readPNG(_ content: UnsafeRawBufferPointer) {
        guard content.count > 33 else { return }
        let type = content[25]
        colour = type == 3 ? .palette : type & 2 == 0 ? .grey : .colour
        isTransparent = type & 4 != 0
        hasWideSamples = content[24] == 16
        var place = 8
        while place + 8 <= content.count {
            let name = String(decoding: content[place + 4..<place + 8], as: UTF8.self)
            if name == "tRNS" { isTransparent = true }
            if name == "tRNS" || name == "IDAT" { return }
            place +=
                12 + Int(UInt32(bigEndian: content.loadUnaligned(fromByteOffset: place, as: UInt32.self)))
        }
    }

    private mutating func readWebP(_ content: UnsafeRawBufferPointer) {
        guard content.count > 25 else { return }
        switch String(decoding: content[12..<16], as: UTF8.self) {
        case "VP8L": isTransparent = content[24] & 0x10 != 0
        case "VP8X": isTransparent = content[20] & 0x10 != 0
        default: break
        }
    }
}
