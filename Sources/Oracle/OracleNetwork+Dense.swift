extension OracleNetwork {
    /// What dense evaluation means, spelled out: the convolutions and poolings over a whole image of any
    /// size, then the fully connected layers on each window of the last map that has the size of the
    /// network's own, cut out one by one.
    ///
    /// - Parameter image: NHWC, one image of `height` × `width`.
    /// - Returns: the class scores of each window, `[rows · columns][classes]`, with the windows' rows and
    ///   columns.
    public func denseForward(_ image: [Double], height: Int, width: Int, parameters: [[Double]]) -> (
        logits: [Double], rows: Int, columns: Int
    ) {
        precondition(image.count == height * width * inputShape.channels)
        var shape = Oracle.Shape(batch: 1, height: height, width: width, channels: inputShape.channels)
        var own = inputShape
        var map = image
        var parameter = 0
        for layer in layers {
            switch layer {
            case .convolution(let filters):
                map = Oracle.reluForward(
                    Oracle.convolutionForward(
                        map, shape: shape, weights: parameters[parameter],
                        bias: parameters[parameter + 1], filters: filters))
                shape = shape.with(channels: filters)
                own = own.with(channels: filters)
                parameter += 2
            case .maxPool:
                map = Oracle.maxPoolForward(map, shape: shape).output
                shape = Oracle.maxPoolShape(shape)
                own = Oracle.maxPoolShape(own)
            case .fullyConnected: break
            }
        }
        let (rows, columns) = (shape.height - own.height + 1, shape.width - own.width + 1)
        var logits: [Double] = []
        for top in 0..<rows {
            for left in 0..<columns {
                var window: [Double] = []
                for y in top..<top + own.height {
                    let start = shape.index(0, y, left, 0)
                    window += map[start..<start + own.width * shape.channels]
                }
                var values = Oracle.channelsFirst(window, shape: own)
                var index = parameter
                for case .fullyConnected(let outputs, let isLast) in layers {
                    values = Oracle.fullyConnectedForward(
                        values, rows: 1, inputs: values.count, weights: parameters[index],
                        bias: parameters[index + 1], outputs: outputs)
                    if !isLast { values = Oracle.reluForward(values) }
                    index += 2
                }
                logits += values
            }
        }
        return (logits, rows, columns)
    }
}
