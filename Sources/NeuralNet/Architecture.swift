import Foundation

/// Describes a network by its layers, without the last, which follows from the number of classes.
public struct Architecture: Equatable, Sendable, CustomStringConvertible {
    public let layers: [any LayerSpec]
    /// The comma list with names written out, such as `32,32,M,F256`; empty for the linear classifier.
    public let specification: String

    /// The named specifications: `deepimage` from table 2 of the paper, `scaling` from its figures 2–4.
    public static let named: [(name: String, specification: String)] = [
        ("mini", "32,M,64,M,128,M,128,M,F256"), ("linear", ""),
        ("scaling", "64,M,128,M,256,256,M,512,512,M,512,512,M,F4096,F4096"),
        ("vgg16", "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M,F4096,F4096"),
        ("deepimage", "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M,F6144,F6144"),
    ]

    /// Reads a name or a comma list of tokens.
    ///
    /// - Throws: `NetworkError` that names the token it does not understand.
    public init(parsing text: String) throws {
        let expected =
            "expected a name (\(Architecture.named.map(\.name).joined(separator: ", "))) or a comma list of "
            + LayerToken.all.map(\.syntax).joined(separator: ", ") + ", such as 32,M,64,M,F128"
        if let entry = Architecture.named.first(where: { $0.name == text.lowercased() }) {
            specification = entry.specification
        } else {
            specification = text.split(separator: ",", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespacesAndNewlines)
            }.joined(separator: ",")
            if specification.isEmpty { throw NetworkError("the specification is empty; \(expected)") }
        }
        let tokens = specification.split(separator: ",", omittingEmptySubsequences: specification.isEmpty)
        layers = try tokens.reduce(into: []) { layers, token in
            guard let new = LayerToken.all.lazy.compactMap({ $0.layers(token) }).first else {
                throw NetworkError("unknown token '\(token)' in '\(text)'; \(expected)")
            }
            if layers.last?.isClassifier == true && new.contains(where: { !$0.isClassifier }) {
                throw NetworkError(
                    "'\(token)' follows a fully connected layer in '\(text)'; "
                        + "only F may stand after the first F")
            }
            layers += new
        }
    }

    /// Specifications of small networks of every kind of token, which between them begin with each kind that
    /// takes maps.
    public static var samples: [String] { LayerToken.networks }

    /// Layers with weights, the last one included.
    public var depth: Int { layers.count(where: \.hasWeights) + 1 }

    /// Whether there is a fully connected layer before the last one.
    public var hasHiddenFullyConnected: Bool { layers.contains { $0.isClassifier && $0.hasWeights } }

    /// The side in pixels of the smallest image that its poolings can halve.
    public var smallestImage: Int { 1 << min(layers.count(where: \.halvesMap), 62) }

    public var description: String { specification.isEmpty ? "linear" : specification }

    public static func == (a: Architecture, b: Architecture) -> Bool { a.specification == b.specification }
}

/// Describes what is wrong with a network or with its use.
public struct NetworkError: Error, CustomStringConvertible, Equatable {
    /// Errors that have a remedy in the words of a command line, with what it needs to know.
    public enum Kind: Equatable, Sendable {
        /// The poolings need an image of at least this side.
        case tooManyPoolings(smallestImage: Int)
        /// Dense evaluation needs views whose shorter side has at least this size.
        case viewTooSmall(smallestSide: Int)
        case other
    }

    public let kind: Kind
    public let description: String

    public init(_ description: String, kind: Kind = .other) {
        self.description = description
        self.kind = kind
    }
}
