import Basics

/// The shape of one image's activations: height × width × channels, stored as NHWC.
public struct FeatureShape: Equatable, Sendable, CustomStringConvertible {
    public let height: Int
    public let width: Int
    public let channels: Int
    private let channelMultiple: Int

    /// Returns the shape of an image of `size` × `size` pixels.
    public static func image(size: Int) -> FeatureShape { .image(height: size, width: size) }

    /// Returns the shape of an image of `height` × `width` pixels.
    public static func image(height: Int, width: Int) -> FeatureShape {
        FeatureShape(height: height, width: width, channels: 3, channelMultiple: 4)
    }

    /// The shape after 2×2 pooling.
    var pooled: FeatureShape {
        FeatureShape(
            height: height / 2, width: width / 2, channels: channels, channelMultiple: channelMultiple)
    }

    /// Returns the shape of another map with the same channels.
    func with(height: Int, width: Int) -> FeatureShape {
        FeatureShape(height: height, width: width, channels: channels, channelMultiple: channelMultiple)
    }

    /// Channels as stored: a multiple of 16 (4 for the image), so that kernels read whole vectors.
    ///
    /// The lanes past `channels` stay zero, because their weights and gradients are zero too.
    public var storedChannels: Int { channels.roundedUp(to: channelMultiple) }

    /// Floats of one image as stored.
    public var storedCount: Int { height * width * storedChannels }

    /// Numbers of one image without padding lanes.
    public var count: Int { height * width * channels }

    public var description: String { "\(height)×\(width)×\(channels)" }
}

extension FeatureShape {
    public init(height: Int, width: Int, channels: Int) {
        self.init(height: height, width: width, channels: channels, channelMultiple: 16)
    }
}
