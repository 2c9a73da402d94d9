/// Describes one kind of token in an architecture's comma list.
struct LayerToken: Sendable {
    /// How the token is written, for messages: `Fn (fully connected with n units)`.
    let syntax: String
    /// Returns the layers that a token stands for, or nil if the token is of another kind.
    let layers: @Sendable (Substring) -> [any LayerSpec]?

    /// Every kind of token; a new layer type adds its own here.
    static let all = [ConvolutionSpec.token, MaxPoolingSpec.token, FullyConnectedSpec.token]

    /// Reads a number of filters or units: 1 to 65536, digits only.
    static func count(_ text: Substring) -> Int? {
        guard text.allSatisfy(\.isNumber), let count = Int(text), (1...65_536).contains(count) else {
            return nil
        }
        return count
    }
}
