import Compute

/// How a convolution is computed.
public enum ConvolutionAlgorithm: String, CaseIterable, Sendable {
    /// Sums over the 3×3 window in place; takes every shape.
    case direct
    /// Lays each window out as a row and multiplies matrices; takes every shape.
    case im2col
    /// Winograd's F(2×2, 3×3): 2.25 times fewer multiplications; channels in multiples of 16.
    case winograd2
    /// Winograd's F(4×4, 3×3): 4 times fewer multiplications; channels in multiples of 16.
    case winograd4

    /// Returns whether the algorithm can convolve maps with these channels.
    func takes(_ input: FeatureShape) -> Bool {
        switch self {
        case .direct, .im2col: true
        case .winograd2, .winograd4: input.storedChannels % 16 == 0
        }
    }
}

/// An algorithm for each pass.
public struct ConvolutionAlgorithms: Sendable, Equatable, CustomStringConvertible {
    public var forward: ConvolutionAlgorithm
    public var backwardData: ConvolutionAlgorithm
    public var backwardWeights: ConvolutionAlgorithm

    public init(
        forward: ConvolutionAlgorithm, backwardData: ConvolutionAlgorithm,
        backwardWeights: ConvolutionAlgorithm
    ) {
        self.forward = forward
        self.backwardData = backwardData
        self.backwardWeights = backwardWeights
    }

    /// Takes one algorithm for all passes.
    public init(_ algorithm: ConvolutionAlgorithm) {
        self.init(forward: algorithm, backwardData: algorithm, backwardWeights: algorithm)
    }

    subscript(pass: LayerPass) -> ConvolutionAlgorithm {
        switch pass {
        case .forward: forward
        case .backwardData: backwardData
        case .backwardWeights: backwardWeights
        }
    }

    /// Each algorithm that occurs, once.
    var distinct: [ConvolutionAlgorithm] {
        ConvolutionAlgorithm.allCases.filter { [forward, backwardData, backwardWeights].contains($0) }
    }

    /// `winograd4`, or `winograd4/direct/winograd2` for forward, backward-data and backward-weights.
    public var description: String {
        distinct.count == 1
            ? forward.rawValue
            : [forward, backwardData, backwardWeights].map(\.rawValue).joined(separator: "/")
    }
}

/// Algorithms for all convolutions, or each layer's default.
public enum ConvolutionChoice: Sendable, Equatable {
    case auto
    case all(ConvolutionAlgorithms)

    /// The algorithms named; nil for `auto`.
    public var algorithms: ConvolutionAlgorithms? {
        if case .all(let algorithms) = self { return algorithms }
        return nil
    }
}

/// `auto`, an algorithm's name, or three of them with slashes between, for forward, backward-data and
/// backward-weights.
extension ConvolutionChoice: RawRepresentable {
    public init?(rawValue: String) {
        if rawValue == "auto" {
            self = .auto
            return
        }
        let names = rawValue.split(separator: "/", omittingEmptySubsequences: false).map {
            ConvolutionAlgorithm(rawValue: String($0))
        }
        let found = names.compactMap(\.self)
        guard found.count == names.count, [1, 3].contains(found.count) else { return nil }
        self = .all(
            found.count == 1
                ? ConvolutionAlgorithms(found[0])
                : ConvolutionAlgorithms(forward: found[0], backwardData: found[1], backwardWeights: found[2]))
    }

    public var rawValue: String { algorithms?.description ?? "auto" }
}
