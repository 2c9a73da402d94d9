import NeuralNet

/// One way in which a model looks at a photograph.
public struct View: Hashable, Sendable, CustomStringConvertible {
    /// Pixels to which the photograph's shorter side is brought.
    public let shortSide: Int
    /// Whether every window of the whole photograph is scored; else the crop in the middle alone.
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
}

/// Which views of a photograph are asked for.
public struct ViewOptions: Sendable, Equatable {
    public var isDense: Bool
    /// Whether each view is taken of the mirror image too.
    public var mirrors: Bool
    /// Short sides, in place of the model's own and, where views are dense, 7/8 and 9/8 of it.
    public var scales: [Int]?
    /// How the windows of a dense view become one.
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

    /// The views of a model that was trained on photographs of this short side: the plain crop first where
    /// views are dense.
    ///
    /// - Parameter smallest: the shortest side that a view may have. Default scales below it are left out.
    /// - Throws: `EvaluationError` where a scale that was asked for is below it.
    public func views(shortSide own: Int, smallest: Int, model: String) throws -> [View] {
        let usual = isDense ? [(own * 7 + 4) / 8, own, (own * 9 + 4) / 8] : [own]
        let wanted = scales ?? usual.filter { $0 >= smallest }
        if let scale = wanted.first(where: { $0 < smallest }) {
            throw EvaluationError(
                isDense
                    ? "--scales \(scale): a view of \(scale) pixels is smaller than the first window of \(model), which needs \(smallest)"
                    : "--scales \(scale): smaller than the crop of \(model), which has \(smallest) pixels; a larger one, or --dense for a "
                        + "smaller window")
        }
        // Beside dense views the plain crop is what they are compared with; among other crops it counts only
        // where it was asked for.
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
