import Basics
import Testing

@Suite struct LineChartTests {
    /// The places of a line's points, as x and y.
    private func places(_ svg: String) -> [[Double]] {
        svg.split(separator: "\n").filter { $0.contains("<polyline") }.flatMap { line in
            line.split(separator: "\"", omittingEmptySubsequences: false)[1].split(separator: " ").map {
                point in
                point.split(separator: ",").compactMap { Double($0) }
            }
        }
    }

    @Test func pointsLieWhereTheirNumbersSay() {
        let chart = LineChart(
            "a < b", x: "x", y: "y", scales: (.logarithmic, .linear),
            series: [.init("one", [(0.01, 0), (0.1, 5), (1, 10), (.nan, 1), (1, .infinity)])])
        let points = places(chart.svg)
        #expect(points.count == 3, "numbers that are not finite are left out")
        // Equal ratios are equal distances, and larger values are higher up.
        #expect(abs(points[1][0] - (points[0][0] + points[2][0]) / 2) < 0.11)
        #expect(abs(points[1][1] - (points[0][1] + points[2][1]) / 2) < 0.11)
        #expect(points[0][1] > points[2][1])
        #expect(chart.svg.contains("a &lt; b") && chart.svg.contains(">0.01<") && chart.svg.contains(">10<"))
    }

    @Test func stylesAndPowersOfTwo() {
        let chart = LineChart(
            "t", x: "devices", y: "s", scales: (.binary, .linear),
            series: [
                .init("simulated", [(1, 10), (8, 12)], style: .dashed, colour: 3),
                .init("measured", [(1, 11), (2, 10)], style: .points, colour: 3),
            ])
        let svg = chart.svg
        for tick in ["1", "2", "4", "8"] { #expect(svg.contains("middle\">\(tick)</text>")) }
        #expect(!svg.contains("middle\">5</text>"))
        // The line and its sample; two points and their sample.
        #expect(svg.matches(of: /stroke-dasharray="6 4"/).count == 2)
        #expect(svg.matches(of: /<circle [^>]*fill="#7b4fa3"/).count == 3)
        // No line is under the names, which end 32 below the top of the plot.
        #expect(places(svg).allSatisfy { $0[1] > 40 + 2 * 16 })
    }

    /// Unnamed points are not in the list of names, under which a mark says what it is.
    @Test func namesAndMarksDoNotMeet() throws {
        let chart = LineChart(
            "t", x: "ranks", y: "ms", scales: (.binary, .linear),
            series: [
                .init("predicted", [(2, 10), (4, 12)]),
                .init("", [(2, 11), (4, 10)], style: .points, colour: 0),
            ], mark: (2.5, "here"))
        let svg = chart.svg
        // Two points without a sample, and one line with its sample.
        #expect(svg.matches(of: /<circle/).count == 2 && svg.contains(">predicted<"))
        #expect(svg.matches(of: /stroke-width="2"\/>/).count == 1)
        let names = try #require(svg.firstMatch(of: /y="([0-9.]+)"[^>]*>predicted</)?.1)
        let mark = try #require(svg.firstMatch(of: /y="([0-9.]+)"[^>]*>here</)?.1)
        #expect(try #require(Double(mark)) >= #require(Double(names)) + 14)
        #expect(places(svg).allSatisfy { $0[1] > (Double(mark) ?? .infinity) })
        let both = LineChart.stacked([chart, chart])
        #expect(both.contains("viewBox=\"0 0 640 800\"") && both.contains("<svg y=\"400\" height=\"400\" "))
        #expect(both.hasSuffix("</svg>\n") && both.matches(of: /<svg/).count == 3)
    }

    @Test func degenerateDataIsDrawn() {
        for points in [[], [(x: 3.0, y: 4.0)], [(1, 7), (2, 7)]] {
            for scale in [LineChart.Scale.linear, .logarithmic, .binary] {
                let series = [LineChart.Series("s", points), .init("t", [])]
                let chart = LineChart(
                    "t", x: "x", y: "y", scales: (scale, scale), series: series, mark: (2, "here"))
                let svg = chart.svg
                #expect(!svg.contains("nan") && !svg.contains("inf"))
                #expect(places(svg).count == points.count && svg.hasSuffix("</svg>\n"))
            }
        }
    }
}
