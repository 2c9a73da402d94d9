/// Every operation of a training step once more, as plain loops in double precision: what kernels and layers
/// are tested against.
///
/// Speed and layout do not matter here, only that each loop can be read beside its formula. Images are NHWC
/// without any padding of channels, convolution weights OIHW, fully connected weights [outputs][inputs]:
/// torch's layouts. Arrays of the wrong length are a mistake in the calling test and trap.
public enum Oracle {
    /// The shape of a batch of images or activations, stored as [batch][height][width][channels].
    public struct Shape: Equatable, Sendable {
        public var batch, height, width, channels: Int

        public init(batch: Int, height: Int, width: Int, channels: Int) {
            self.batch = batch
            self.height = height
            self.width = width
            self.channels = channels
        }

        /// The number of elements.
        public var count: Int { batch * height * width * channels }

        /// Where the element of image `n`, row `y`, column `x` and channel `c` is stored.
        public func index(_ n: Int, _ y: Int, _ x: Int, _ c: Int) -> Int {
            ((n * height + y) * width + x) * channels + c
        }

        /// The same batch with another number of channels.
        public func with(channels: Int) -> Shape {
            Shape(batch: batch, height: height, width: width, channels: channels)
        }
    }
}
