import Photographs

extension CropRecord {
    /// The kernel's form of what is done to an image.
    /// - Parameters:
    ///   - byteOffset: of the image, in the buffer that `source` names (0: the mini-batch's bytes, n: slab n
    ///     − 1 of the cache).
    ///   - size: side of the crop in pixels.
    public init(
        _ parameters: AugmentationParameters, byteOffset: UInt64, width: Int32, height: Int32,
        source: Int32 = 0, size: Int
    ) {
        self.init(
            byteOffset: byteOffset, width: width, height: height, x: parameters.x, y: parameters.y,
            mirror: parameters.mirror)
        self.source = source
        if !parameters.isPlain { apply(parameters, size: size) }
    }

    /// Fills the fields of the effects.
    public mutating func apply(_ parameters: AugmentationParameters, size: Int) {
        effects = 1
        (left, top, right, bottom) = (0, 0, width, height)
        if parameters.isLiteral {
            // A crop that lies outside altogether keeps the pixel next to it.
            left = min(max(x, 0), width - 1)
            top = min(max(y, 0), height - 1)
            right = max(left + 1, min(width, x + Int32(size)))
            bottom = max(top + 1, min(height, y + Int32(size)))
        }
        let matrix = parameters.outputToCrop
        (xx, xy, yx, yy) = (Float(matrix[0]), Float(matrix[1]), Float(matrix[2]), Float(matrix[3]))
        let half = Double(size) / 2
        lens = Float(parameters.lens / (half * half))
        vignetteStart = Float(parameters.vignetteStart)
        vignetteSlope = Float(1 / (1 - parameters.vignetteStart))
        vignetteStrength = Float(parameters.vignetteStrength)
        (castRed, castGreen, castBlue) = (
            Float(parameters.cast.x), Float(parameters.cast.y), Float(parameters.cast.z)
        )
    }
}

extension DeviceBatch {
    /// Uploads photographs as the loader hands them over, with what `parameters` names for each size and
    /// position in the set.
    ///
    /// - Parameters:
    ///   - size: side of the crops in pixels.
    ///   - cache: gets the photographs that it has room for, and has those that the loader left out.
    public func upload(
        _ host: HostBatch, size: Int, cache: ImageCache? = nil,
        parameters: (_ width: Int, _ height: Int, _ sample: Int) -> AugmentationParameters
    ) throws {
        let records = zip(host.records, host.samples).map { record, sample in
            // A photograph that was read all the same is used as it came: its bytes are the same.
            if let entry = cache?[sample], record.width == 0 {
                return CropRecord(
                    parameters(Int(entry.width), Int(entry.height), sample), byteOffset: entry.byteOffset,
                    width: entry.width, height: entry.height, source: entry.source, size: size)
            }
            return CropRecord(
                parameters(Int(record.width), Int(record.height), sample), byteOffset: UInt64(record.offset),
                width: record.width, height: record.height, size: size)
        }
        try upload(
            pixels: UnsafeRawBufferPointer(start: host.pixels, count: host.byteCount), owner: host,
            records: records, labels: host.labels, weights: host.weights)
        guard let cache else { return }
        for (slot, record) in host.records.enumerated() where record.width > 0 && host.weights[slot] > 0 {
            try cache.insert(
                host.samples[slot], from: bytes, byteOffset: Int(record.offset),
                width: record.width, height: record.height)
        }
        self.cache = cache.slabs
    }
}
