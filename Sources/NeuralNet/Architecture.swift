/// A network as VGG's tables write it, without its last layer, which follows from the number of classes.
public struct Architecture: Equatable, Sendable, CustomStringConvertible {
    public enum Token: Equatable, Sendable {
        /// 3×3 convolution, stride 1, padding 1, with `filters` filters, then ReLU.
        case convolution(filters: Int)
        /// 2×2 max-pooling, stride 2.
        case maxPooling
        /// Fully connected with `units` units, then ReLU and dropout.
        case fullyConnected(units: Int)
    }

    public let tokens: [Token]
    /// The comma list, such as `32,32,M,F256`; names are written out. Empty for the linear classifier.
    public let specification: String

    /// Specifications that have names. `deepimage` is the paper's table 2, `scaling` the network of its
    /// figures 2–4.
    public static let named: [(name: String, specification: String)] = [
        ("mini", "32,M,64,M,128,M,128,M,F256"), ("linear", ""),
        ("scaling", "64,M,128,M,256,256,M,512,512,M,512,512,M,F4096,F4096"),
        ("vgg16", "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M,F4096,F4096"),
        ("deepimage", "64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M,F6144,F6144"),
    ]

    /// Reads a name or a comma list.
    ///
    /// - Throws: `NetworkError` naming the token that is not understood.
    public init(parsing text: String) throws {
        let known =
            "expected a name (\(Architecture.named.map(\.name).joined(separator: ", "))) or a comma list of "
            + "n (a 3×3 convolution with n filters), M (2×2 max-pooling) and Fn (fully connected with n units), such as 32,M,64,M,F128"
        if let entry = Architecture.named.first(where: { $0.name == text.lowercased() }) {
            specification = entry.specification
        } else {
            specification = text.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmed }
                .joined(separator: ",")
            if specification.isEmpty { throw NetworkError("the specification is empty; \(known)") }
        }
        var tokens: [Token] = []
        // The linear classifier has no tokens at all.
        for token in specification.isEmpty
            ? [] : specification.split(separator: ",", omittingEmptySubsequences: false)
        {
            let number = token.first == "F" ? token.dropFirst() : token[...]
            if token == "M" {
                tokens.append(.maxPooling)
            } else if let count = Int(number), (1...65_536).contains(count), number.allSatisfy(\.isNumber) {
                tokens.append(
                    token.first == "F" ? .fullyConnected(units: count) : .convolution(filters: count))
            } else {
                throw NetworkError("unknown token '\(token)' in '\(text)'; \(known)")
            }
            if case .fullyConnected? = tokens.dropLast().last {
                guard case .fullyConnected? = tokens.last else {
                    throw NetworkError(
                        "'\(token)' follows a fully connected layer in '\(text)'; after the first F only F may stand"
                    )
                }
            }
        }
        self.tokens = tokens
    }

    /// Pixels of a side that the poolings need: each halves it.
    public var smallestImage: Int { 1 << min(tokens.count { $0 == .maxPooling }, 62) }

    public var description: String { specification.isEmpty ? "linear" : specification }
}

extension Substring {
    fileprivate var trimmed: Substring {
        var text = self
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return text
    }
}

/// Something about a network that cannot be, in a sentence for a person.
public struct NetworkError: Error, CustomStringConvertible, Equatable {
    public let description: String

    public init(_ description: String) { self.description = description }
}
