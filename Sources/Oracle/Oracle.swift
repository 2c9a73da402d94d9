/// Every operation of a training step as plain loops in double precision: the reference that kernels and
/// layers are tested against.
///
/// Speed does not matter, only that each loop can be compared with its formula. Layouts are torch's: images
/// NHWC without padding of channels, convolution weights OIHW, fully connected weights [outputs][inputs].
/// Arrays of the wrong length are a mistake in the calling test and trap.
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

        /// Returns the index of the element of image `n`, row `y`, column `x` and channel `c`.
        public func index(_ n: Int, _ y: Int, _ x: Int, _ c: Int) -> Int {
            ((n * height + y) * width + x) * channels + c
        }

        /// Returns the shape with another number of channels.
        public func with(channels: Int) -> Shape {
            Shape(batch: batch, height: height, width: width, channels: channels)
        }
    }
}
