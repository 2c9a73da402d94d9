import Foundation

/// Draws lines over one horizontal axis as SVG.
public struct LineChart {
    /// A named sequence of points, in the order of their x.
    public struct Series {
        /// How it is drawn.
        public enum Style { case line, dashed, points }

        /// Empty for a line that is not in the list of names.
        public let name: String
        public let points: [(x: Double, y: Double)]
        public let style: Style
        /// The number of its colour; nil for one of its own.
        public let colour: Int?

        public init(
            _ name: String, _ points: [(x: Double, y: Double)], style: Style = .line, colour: Int? = nil
        ) {
            self.name = name
            self.points = points
            self.style = style
            self.colour = colour
        }
    }

    /// How a coordinate becomes a place on its axis; `binary` is logarithmic with powers of two as ticks.
    public enum Scale { case linear, logarithmic, binary }

    private static let (width, height) = (640.0, 400.0)
    private static let plot = (left: 64.0, right: 624.0, top: 40.0, bottom: 348.0)
    private static let colours = ["#1f6fb2", "#c8501e", "#3a8a45", "#7b4fa3", "#8a6d1d", "#555555"]

    private let title: String
    private let labels: (x: String, y: String)
    private let scales: (x: Scale, y: Scale)
    private let series: [Series]
    private let mark: (x: Double, text: String)?

    /// - Parameter mark: a vertical line, and what it says
    public init(
        _ title: String, x: String, y: String, scales: (x: Scale, y: Scale) = (.linear, .linear),
        series: [Series], mark: (x: Double, text: String)? = nil
    ) {
        self.title = title
        labels = (x, y)
        self.scales = scales
        self.series = series.map { line in
            let points = line.points.filter { $0.x.isFinite && $0.y.isFinite }
            return Series(line.name, points, style: line.style, colour: line.colour)
        }
        self.mark = mark
    }

    /// The drawing as a file's content.
    public var svg: String {
        let points = series.flatMap(\.points)
        let plot = LineChart.plot
        let horizontal = Axis(
            points.map(\.x) + [mark?.x].compactMap { $0 }, scales.x, from: plot.left, to: plot.right)
        // Lines stay below the list of names, and of what a mark says.
        let listed = series.count > 1 ? series.indices.filter { !series[$0].name.isEmpty } : []
        let markTop = listed.isEmpty ? plot.top : plot.top + 16 * Double(listed.count) + 8
        let rows = listed.isEmpty ? 0 : listed.count + (mark == nil ? 0 : 1)
        let names = rows > 0 && scales.y == .linear ? 16 * Double(rows) + 12 : 0
        let vertical = Axis(points.map(\.y), scales.y, from: plot.bottom, to: plot.top, margin: names)
        var parts: [String] = []
        for tick in horizontal.ticks {
            let x = number(horizontal.place(tick))
            parts.append(
                "<line class=\"grid\" x1=\"\(x)\" x2=\"\(x)\" y1=\"\(plot.top)\" y2=\"\(plot.bottom)\"/>"
                    + text(tick.tickText, x: x, y: number(plot.bottom + 18), anchor: "middle"))
        }
        for tick in vertical.ticks {
            let y = number(vertical.place(tick))
            let below = number(vertical.place(tick) + 4)
            parts.append(
                "<line class=\"grid\" x1=\"\(plot.left)\" x2=\"\(plot.right)\" y1=\"\(y)\" y2=\"\(y)\"/>"
                    + text(tick.tickText, x: number(plot.left - 8), y: below, anchor: "end"))
        }
        if let mark {
            let place = horizontal.place(mark.x)
            let isRight = place > (plot.left + plot.right) / 2
            parts.append(
                "<line class=\"mark\" x1=\"\(number(place))\" x2=\"\(number(place))\" "
                    + "y1=\"\(number(markTop))\" y2=\"\(plot.bottom)\"/>"
                    + text(
                        mark.text, x: number(place + (isRight ? -6 : 6)), y: number(markTop + 14),
                        anchor: isRight ? "end" : "start"))
        }
        for (index, line) in series.enumerated() {
            let colour = LineChart.colours[(line.colour ?? index) % LineChart.colours.count]
            let places = line.points.map {
                (x: number(horizontal.place($0.x)), y: number(vertical.place($0.y)))
            }
            let dash = line.style == .dashed ? " stroke-dasharray=\"6 4\"" : ""
            if line.style == .points {
                parts += places.map { LineChart.point($0.x, $0.y, colour) }
            } else {
                let list = places.map { "\($0.x),\($0.y)" }.joined(separator: " ")
                parts.append("<polyline points=\"\(list)\" stroke=\"\(colour)\"\(dash)/>")
            }
            if let row = listed.firstIndex(of: index) {
                let y = plot.top + 16 * Double(row + 1)
                let sample =
                    line.style == .points
                    ? LineChart.point(number(plot.left + 22), number(y), colour)
                    : "<line x1=\"\(plot.left + 10)\" x2=\"\(plot.left + 34)\" y1=\"\(y)\" y2=\"\(y)\" "
                        + "stroke=\"\(colour)\" stroke-width=\"2\"\(dash)/>"
                parts.append(
                    sample + text(line.name, x: number(plot.left + 40), y: number(y + 4), anchor: "start"))
            }
        }
        let middle = number((plot.left + plot.right) / 2)
        let side = number((plot.top + plot.bottom) / 2)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(number(LineChart.width)) \
            \(number(LineChart.height))" role="img" aria-label="\(escaped(title))">
            <style>text { font: 12px sans-serif; fill: #333 } .grid { stroke: #ddd } \
            .mark { stroke: #333; stroke-dasharray: 4 3 } polyline { fill: none; stroke-width: 2 }</style>
            <rect width="100%" height="100%" fill="#fff"/>
            \(text(title, x: middle, y: "22", anchor: "middle"))
            \(parts.joined(separator: "\n"))
            \(text(labels.x, x: middle, y: number(LineChart.height - 12), anchor: "middle"))
            <text x="16" y="\(side)" text-anchor="middle" \
            transform="rotate(-90 16 \(side))">\(escaped(labels.y))</text>
            </svg>

            """
    }

    /// Returns one drawing with these charts below each other.
    public static func stacked(_ charts: [LineChart]) -> String {
        let parts = charts.enumerated().map { index, chart in
            let place = "y=\"\(Int(height) * index)\" height=\"\(Int(height))\""
            return chart.svg.replacing("<svg ", with: "<svg \(place) ")
        }
        return """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(Int(width)) \(Int(height) * charts.count)">
            \(parts.joined())</svg>

            """
    }

    private static func point(_ x: String, _ y: String, _ colour: String) -> String {
        "<circle cx=\"\(x)\" cy=\"\(y)\" r=\"4\" fill=\"\(colour)\"/>"
    }

    private func text(_ text: String, x: String, y: String, anchor: String) -> String {
        "<text x=\"\(x)\" y=\"\(y)\" text-anchor=\"\(anchor)\">\(escaped(text))</text>"
    }

    private func number(_ value: Double) -> String { String(format: "%.1f", value) }

    private func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing("\"", with: "&quot;")
    }
}

/// The range of one coordinate, and where it lies on the page.
private struct Axis {
    private let scale: LineChart.Scale
    private let low, high: Double
    private let from, to: Double

    /// - Parameter margin: the length of the end of a linear axis that stays free
    init(_ values: [Double], _ scale: LineChart.Scale, from: Double, to: Double, margin end: Double = 0) {
        let values = scale == .linear ? values : values.filter { $0 > 0 }
        let (least, most) = (values.min() ?? 1, values.max() ?? 10)
        self.scale = scale
        self.from = from
        self.to = to
        switch scale {
        case .logarithmic, .binary:
            low = log10(least)
            high = most > least ? log10(most) : log10(least) + 1
        case .linear:
            let margin = most > least ? 0.05 * (most - least) : 1
            low = least >= 0 ? max(0, least - margin) : least - margin
            high = most + margin + (most + margin - low) * end / (abs(to - from) - end)
        }
    }

    func place(_ value: Double) -> Double {
        let coordinate = scale == .linear ? value : log10(max(value, .leastNormalMagnitude))
        return from + (min(max(coordinate, low), high) - low) / (high - low) * (to - from)
    }

    /// Round numbers within the range: on a logarithmic axis powers of ten, with 2 and 5 between few of them.
    var ticks: [Double] {
        switch scale {
        case .logarithmic:
            let factors: [Double] = high - low < 3 ? [1, 2, 5] : [1]
            return (Int(low.rounded(.down))...Int(high.rounded(.up))).flatMap { exponent in
                factors.map { $0 * pow(10, Double(exponent)) }
            }.filter { (low - 1e-9...high + 1e-9).contains(log10($0)) }
        case .binary:
            // At most about a dozen.
            let powers = (Int((low / log10(2)).rounded(.down))...Int((high / log10(2)).rounded(.up)))
            let step = max(1, (powers.count + 11) / 12)
            return powers.filter { $0 % step == 0 }.map { pow(2, Double($0)) }.filter {
                (low - 1e-9...high + 1e-9).contains(log10($0))
            }
        case .linear:
            let rough = (high - low) / 5
            let unit = pow(10, log10(rough).rounded(.down))
            let step = [1, 2, 5, 10].map { $0 * unit }.first { $0 >= rough } ?? unit
            return Array(stride(from: (low / step).rounded(.up) * step, through: high, by: step))
        }
    }
}

extension Double {
    /// A tick's number in as few digits as it needs.
    fileprivate var tickText: String { String(format: abs(self) < 10_000 ? "%.4g" : "%.3g", self) }
}
