extension OracleNetwork {
    /// Returns the class scores of dense evaluation by its definition: the convolutions and poolings run over
    /// a whole image of any size, then the fully connected layers on each window of the last map that has the
    /// size of the network's own, cut out one by one.
    ///
    /// - Parameter image: NHWC, one image of `height` × `width`.
    /// - Returns: the class scores of each window, `[rows · columns][classes]`, with the windows' rows and
    ///   columns.
    public func denseForward(_ image: [Double], height: Int, width: Int, parameters: [[Double]]) -> (
        logits: [Double], rows: Int, columns: Int
    ) {
        precondition(image.count == height * width * inputShape.channels)
        func forward(_ index: Int, _ values: [Double], _ shape: Oracle.Shape) -> [Double] {
            layers[index].forward(
                OracleLayerInput(
                    values: values, shape: shape, parameters: Array(parameters[parameterRanges[index]]),
                    mask: nil, dropout: 0)
            ).output
        }
        let features = layers.indices.prefix { !layers[$0].isClassifier }
        var shape = Oracle.Shape(batch: 1, height: height, width: width, channels: inputShape.channels)
        var own = inputShape
        var map = image
        for index in features {
            map = forward(index, map, shape)
            shape = layers[index].outputShape(shape)
            own = layers[index].outputShape(own)
        }
        let (rows, columns) = (shape.height - own.height + 1, shape.width - own.width + 1)
        var logits: [Double] = []
        for top in 0..<rows {
            for left in 0..<columns {
                var values: [Double] = []
                for y in top..<top + own.height {
                    let start = shape.index(0, y, left, 0)
                    values += map[start..<start + own.width * shape.channels]
                }
                var window = own
                for index in layers.indices[features.endIndex...] {
                    values = forward(index, values, window)
                    window = layers[index].outputShape(window)
                }
                logits += values
            }
        }
        return (logits, rows, columns)
    }
}
