import Basics
import NeuralNet

/// Describes one way in which a model looks at a photograph.
public struct View: Hashable, Sendable, CustomStringConvertible {
    /// Pixels to which the photograph's shorter side is resized.
    public let shortSide: Int
    /// Whether every window of the whole photograph is scored, not only the central crop.
    public let isDense: Bool
    public let isMirrored: Bool

    public init(shortSide: Int, isDense: Bool = false, isMirrored: Bool = false) {
        self.shortSide = shortSide
        self.isDense = isDense
        self.isMirrored = isMirrored
    }

    public var description: String {
        "\(isDense ? "dense" : "crop") at \(shortSide)\(isMirrored ? ", mirrored" : "")"
    }

    public var json: JSON { ["short_side": shortSide, "dense": isDense, "mirrored": isMirrored] }

    /// Returns the error for a view that is smaller than the model's crop or first window.
    func tooSmall(model: String, smallest: Int) -> EvaluationError {
        EvaluationError(
            "a view of \(shortSide) pixels is smaller than the \(isDense ? "first window" : "crop") of "
                + "\(model), which needs \(smallest)",
            kind: .viewTooSmall(isDense: isDense))
    }
}

/// Selects the views of a photograph.
public struct ViewOptions: Sendable, Equatable {
    public var isDense: Bool
    /// Whether each view is also taken of the mirror image.
    public var mirrors: Bool
    /// Short sides; nil for the model's own and, if views are dense, 7/8 and 9/8 of it.
    public var scales: [Int]?
    /// How the windows of a dense view are averaged.
    public var averaging: DenseNetwork.Averaging

    public init(
        isDense: Bool = false, mirrors: Bool = false, scales: [Int]? = nil,
        averaging: DenseNetwork.Averaging = .logits
    ) {
        self.isDense = isDense
        self.mirrors = mirrors
        self.scales = scales
        self.averaging = averaging
    }

    /// Returns the views for a model; the central crop comes first if views are dense.
    ///
    /// - Parameters:
    ///   - own: the short side that the model was trained with.
    ///   - smallest: the smallest short side allowed; smaller default scales are left out.
    /// - Throws: `EvaluationError` if one of `scales` is smaller.
    public func views(shortSide own: Int, smallest: Int, model: String) throws -> [View] {
        let usual = isDense ? [(own * 7 + 4) / 8, own, (own * 9 + 4) / 8] : [own]
        let wanted = scales ?? usual.filter { $0 >= smallest }
        if let scale = wanted.first(where: { $0 < smallest }) {
            throw View(shortSide: scale, isDense: isDense).tooSmall(model: model, smallest: smallest)
        }
        // Dense views are compared with the central crop; crops include it only if it is one of the scales.
        var views = isDense ? [View(shortSide: own)] : []
        for scale in wanted {
            for isMirrored in mirrors ? [false, true] : [false] {
                let view = View(shortSide: scale, isDense: isDense, isMirrored: isMirrored)
                if !views.contains(view) { views.append(view) }
            }
        }
        return views
    }
}
