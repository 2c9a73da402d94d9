/// Describes one kind of token in an architecture's comma list.
struct LayerToken: Sendable {
    /// How the token is written, for messages: `Fn (fully connected with n units)`.
    let syntax: String
    /// A token of this kind, with a number that no tile divides.
    ///
    /// `trainer selftest` checks networks of the samples.
    let sample: String
    /// Returns the layers that a token stands for, or nil if the token is of another kind.
    let layers: @Sendable (Substring) -> [any LayerSpec]?

    /// Every kind of token; a new layer type adds its own here.
    static let all = [ConvolutionSpec.token, MaxPoolingSpec.token, FullyConnectedSpec.token]

    /// As `Architecture.samples`.
    static var networks: [String] {
        let isClassifier = { (token: LayerToken) in
            token.layers(token.sample[...])?.contains { $0.isClassifier } ?? false
        }
        let maps = all.filter { !isClassifier($0) }.map(\.sample)
        let rest = all.filter(isClassifier).map(\.sample)
        return maps.indices.map { (maps[$0...] + maps[..<$0] + rest).joined(separator: ",") }
    }

    /// Reads a number of filters or units: 1 to 65536, digits only.
    static func count(_ text: Substring) -> Int? {
        guard text.allSatisfy(\.isNumber), let count = Int(text), (1...65_536).contains(count) else {
            return nil
        }
        return count
    }
}
