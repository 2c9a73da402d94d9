import Basics
import Foundation

/// Renders a self-contained HTML page on how two models differ.
///
/// Sections: metrics, photographs that only one model gets right, confusion, hardest photographs, accuracy by
/// class, calibration.
public struct ComparisonPage {
    private let posteriors: Posteriors
    private let names: [String]
    private let views: [String]
    /// All views of A and of B.
    private let mixtures: [Posteriors.Mixture]
    private let metrics: [Metrics]
    private let both: Metrics
    /// Whether A, B and their mean are right, `[A, B, mean][photographs]`, as for the losses.
    private let isRight: [[Bool]]
    private let losses: [[Float]]
    private let title: String
    /// Maximum number of photographs on one sheet.
    private let limit: Int
    private let picture: (String) throws -> [UInt8]

    /// The number of classes above which the confusion matrix is drawn without numbers and names.
    private static let largestMatrix = 24
    /// The number of rows of a long list that are shown at first.
    private static let firstRows = 40

    /// - Parameters:
    ///   - table: the table of two models.
    ///   - picture: returns a small JPEG picture of one of the table's files.
    public init(_ table: ViewTable, title: String, limit: Int, picture: @escaping (String) throws -> [UInt8])
    {
        posteriors = table.posteriors
        self.title = title
        self.limit = limit
        self.picture = picture
        let posteriors = table.posteriors
        mixtures = (0..<2).compactMap { table.best(model: $0)?.mixture }
        var isRight = Array(repeating: [Bool](repeating: false, count: posteriors.files.count), count: 3)
        var losses = Array(repeating: [Float](repeating: 0, count: posteriors.files.count), count: 3)
        let all = posteriors.metrics(mixtures + [table.final.mixture]) { file, mixture, outcome in
            isRight[mixture][file] = outcome.isRight
            losses[mixture][file] = Float(outcome.loss)
        }
        (metrics, both) = (Array(all.prefix(2)), all[2])
        (self.isRight, self.losses) = (isRight, losses)
        names = posteriors.models
        views = mixtures.map { mixture in
            mixture.members.map { posteriors.sources[$0.source].view.description }.joined(separator: "; ")
        }
    }

    private var classes: [String] { posteriors.classes }

    /// Returns the whole page.
    public func html() throws -> String {
        let onlyB = posteriors.files.indices.filter { !isRight[0][$0] && isRight[1][$0] }
        let onlyA = posteriors.files.indices.filter { isRight[0][$0] && !isRight[1][$0] }
        func surest(_ files: [Int], right: Int) -> [Int] {
            files.sorted { a, b in
                let (left, other) = (
                    losses[1 - right][a] - losses[right][a], losses[1 - right][b] - losses[right][b]
                )
                return left != other ? left > other : a < b
            }
        }
        let hardest = posteriors.files.indices.sorted { (losses[2][$1], $0) < (losses[2][$0], $1) }
        var body = header()
        body += summary(onlyA: onlyA.count, onlyB: onlyB.count)
        body += try sheet("B is right, A is wrong", photographs(onlyB.count), surest(onlyB, right: 1))
        body += try sheet("A is right, B is wrong", photographs(onlyA.count), surest(onlyA, right: 0))
        let isDrawn = classes.count > Self.largestMatrix
        body += section(
            "Confusion",
            "Rows are the true classes, columns the answers, the stronger the larger their share of the row."
                + (isDrawn
                    ? " Both are in the models' order; hold the pointer over a square for its names." : ""),
            confusion())
        body += try sheet("Hardest photographs", "by the loss of the mean of both", hardest)
        body += section("Accuracy by class", "Top-1 in percent, the largest differences first.", byClass())
        body += section(
            "Calibration",
            "How often an answer is right, by how sure the model is. A calibrated model follows the line.",
            calibration())
        return HTMLPage.document(title: title, style: Self.style, body: body)
    }

    // MARK: - Sections

    private func header() -> String {
        let present = Set(posteriors.labels).count
        let leftOut =
            posteriors.leftOut.isEmpty ? "" : "; \(photographs(posteriors.leftOut.count)) could not be used"
        let models = (0..<2).map { model in
            let unknown = posteriors.unknownClasses[model]
            let list = escaped(unknown.listed(atMost: 20))
            let note = unknown.isEmpty ? "" : "<br>does not know, and is never right on: \(list)"
            return "<div><dt>\(badge(model))</dt><dd><b>\(escaped(names[model]))</b><br>"
                + "<small>\(escaped(views[model]))\(note)</small></dd></div>"
        }
        let classCount = present == 1 ? "1 class" : "\(present) classes"
        return """
            <header><h1>\(escaped(title))</h1>
            <p>\(photographs(posteriors.files.count)) of \(classCount)\(leftOut).</p>
            <dl class="models">\(models.joined())</dl>
            </header>

            """
    }

    private func photographs(_ count: Int) -> String { count == 1 ? "1 photograph" : "\(count) photographs" }

    private func summary(onlyA: Int, onlyB: Int) -> String {
        let columns = Metric.shown(classes: classes.count)
        func row(_ name: String, _ metrics: Metrics) -> String {
            let cells = columns.map { metric in
                let range = metric.interval(metrics).map {
                    " <small>\(metric.number($0.low))–\(metric.number($0.high))</small>"
                }
                return "<td><b>\(metric.number(metric.value(metrics)))</b>\(range ?? "")</td>"
            }
            return #"<tr><th scope="row">\#(name)</th>\#(cells.joined())</tr>"#
        }
        let head = columns.map { "<th>\($0.title)</th>" }.joined()
        let table =
            #"<div class="wide"><table class="numbers"><thead><tr><th></th>\#(head)</tr></thead><tbody>"#
            + row(badge(0), metrics[0]) + row(badge(1), metrics[1]) + row("mean", both)
            + "</tbody></table></div>"
        let note =
            "<p>Small figures are 95 % intervals. Only B is right on \(onlyB), only A on \(onlyA). "
            + "If both models were equally good, counts at least this far apart would occur by chance in "
            + "\(often(signTest(onlyA, onlyB))) of all cases.</p>"
        return section("In numbers", nil, table + note)
    }

    private func often(_ probability: Double) -> String {
        probability < 1e-4
            ? "less than 0.01 %"
            : String(format: probability < 0.01 ? "%.2f %%" : "%.0f %%", 100 * probability)
    }

    /// Returns the probability that a fair coin gives counts at least as uneven (two-sided exact sign test).
    private func signTest(_ a: Int, _ b: Int) -> Double {
        let n = a + b
        func logChoose(_ k: Int) -> Double {
            lgamma(Double(n + 1)) - lgamma(Double(k + 1)) - lgamma(Double(n - k + 1))
        }
        let tail = (0...min(a, b)).reduce(0) { $0 + exp(logChoose($1) - Double(n) * log(2)) }
        return min(1, 2 * tail)
    }

    private func sheet(_ title: String, _ note: String, _ files: [Int]) throws -> String {
        let shown = files.prefix(limit)
        if shown.isEmpty { return section(title, nil, "<p>None.</p>") }
        let cards = try shown.map { file in
            let picture = Data(try picture(posteriors.files[file])).base64EncodedString()
            let label = escaped(classes[posteriors.labels[file]])
            let name = escaped((posteriors.files[file] as NSString).lastPathComponent)
            return """
                <figure><img src="data:image/jpeg;base64,\(picture)" alt="\(label)" loading="lazy">
                <figcaption><b>\(label)</b> <small>\(name)</small>
                <div class="lists">\((0..<2).map { list($0, file) }.joined())</div></figcaption></figure>

                """
        }
        let rest = files.count > shown.count ? ", \(shown.count) shown" : ""
        return section(title, note + rest, #"<div class="sheet">\#(cards.joined())</div>"#)
    }

    private func list(_ model: Int, _ file: Int) -> String {
        let own = posteriors.mean(mixtures[model], of: file)
        let lines = Metrics.order(own).prefix(5).filter { own[$0] > 0 }.map { index in
            let share = Double(own[index])
            let mark = index == posteriors.labels[file] ? #" class="right""# : ""
            return "<li\(mark)><span>\(escaped(classes[index]))</span><i>\(percent(share))</i>"
                + bar(model, share) + "</li>"
        }
        return "<div>\(badge(model))<ol>\(lines.joined())</ol></div>"
    }

    private func confusion() -> String {
        let matrices = (0..<2).map { model in
            let drawing =
                classes.count > Self.largestMatrix ? drawnMatrix(model) + worstPairs(model) : matrix(model)
            return "<div><h3>\(badge(model))</h3>\(drawing)</div>"
        }
        return #"<div class="pair">\#(matrices.joined())</div>"#
    }

    private func matrix(_ model: Int) -> String {
        let counts = metrics[model].confusion
        let head = classes.map { #"<th scope="col"><span>\#(escaped($0))</span></th>"# }.joined()
        let rows = classes.indices.map { row in
            let total = metrics[model].byClass[row].images
            let cells = classes.indices.map { column in
                let count = counts[row, column]
                let share = Int((100 * Double(count) / Double(max(1, total))).rounded())
                let title = pairTitle((row, column, count), of: total)
                return #"<td class="\#(row == column ? "right" : "wrong")" style="--share:\#(share)%" "#
                    + #"title="\#(title)">\#(count == 0 ? "" : "\(count)")</td>"#
            }
            return #"<tr><th scope="row">\#(escaped(classes[row]))</th>\#(cells.joined())</tr>"#
        }
        return #"<div class="wide"><table class="matrix"><thead><tr><th></th>\#(head)</tr></thead>"#
            + "<tbody>\(rows.joined())</tbody></table></div>"
    }

    /// Draws a square for each pair that occurs, the stronger the larger its share of the true class.
    private func drawnMatrix(_ model: Int) -> String {
        let squares = metrics[model].confusion.entries.map { entry in
            let total = metrics[model].byClass[entry.label].images
            // A single photograph of many must stay visible.
            let share = 0.25 + 0.75 * Double(entry.count) / Double(max(1, total))
            return #"<rect class="\#(entry.label == entry.answer ? "right" : "wrong")" x="\#(entry.answer)" "#
                + #"y="\#(entry.label)" width="1" height="1" opacity="\#(String(format: "%.2f", share))">"#
                + "<title>\(pairTitle(entry, of: total))</title></rect>"
        }
        let side = classes.count
        return #"<svg class="drawn" viewBox="0 0 \#(side) \#(side)" role="img" "#
            + #"aria-label="Confusion of \#(letter(model)), \#(side) classes">"#
            + #"<rect class="ground" width="\#(side)" height="\#(side)"/>\#(squares.joined())</svg>"#
    }

    private func pairTitle(_ entry: Confusion.Entry, of total: Int) -> String {
        "\(entry.count) of \(total) \(escaped(classes[entry.label])): \(escaped(classes[entry.answer]))"
    }

    private func worstPairs(_ model: Int) -> String {
        let worst = metrics[model].confusion.mistakes.prefix(20).map { entry in
            let (label, answer) = (escaped(classes[entry.label]), escaped(classes[entry.answer]))
            return "<li>\(entry.count) × \(label) taken for \(answer)</li>"
        }
        return "<p>Most often confused:</p><ol>\(worst.joined())</ol>"
    }

    private func byClass() -> String {
        func accuracy(_ model: Int, _ label: Int) -> Double { metrics[model].byClass[label].accuracy }
        let present = classes.indices.filter { metrics[0].byClass[$0].images > 0 }
        let order = present.sorted {
            (abs(accuracy(0, $1) - accuracy(1, $1)), $0) < (abs(accuracy(0, $0) - accuracy(1, $0)), $1)
        }
        let rows = order.map { label in
            let bars = (0..<2).map { model in
                #"<div class="bar">\#(bar(model, accuracy(model, label)))"#
                    + "<i>\(percent(accuracy(model, label)))</i></div>"
            }
            return #"<tr><th scope="row">\#(escaped(classes[label]))</th><td>\#(bars.joined())</td>"#
                + "<td><small>\(metrics[0].byClass[label].images)</small></td></tr>"
        }
        func table(_ rows: ArraySlice<String>) -> String {
            #"<table class="bars"><thead><tr><th></th><th></th><th><small>photographs</small></th></tr>"#
                + "</thead><tbody>\(rows.joined())</tbody></table>"
        }
        let rest = rows.dropFirst(Self.firstRows)
        let legend = (0..<2).map { "\(badge($0)) \(escaped(names[$0]))" }.joined(separator: " &nbsp; ")
        let more = "<details><summary>\(rest.count) more, which differ less</summary>\(table(rest))</details>"
        return #"<p class="legend">\#(legend)</p>"# + table(rows.prefix(Self.firstRows))
            + (rest.isEmpty ? "" : more)
    }

    private func calibration() -> String {
        let diagrams = (0..<2).map { model in
            let intervals = metrics[model].calibration
            let most = max(1, intervals.map(\.images).max() ?? 1)
            let width = 300.0 / Double(intervals.count)
            let marks = intervals.enumerated().filter { $1.images > 0 }.map { place, tally in
                let opacity = 0.35 + 0.65 * Double(tally.images) / Double(most)
                let rectangle = String(
                    format: #"x="%.1f" y="%.1f" width="%.1f" height="%.1f" opacity="%.2f""#,
                    40 + Double(place) * width + 1, 310 - 300 * tally.accuracy, width - 2,
                    max(300 * tally.accuracy, 1), opacity)
                return #"<rect class="\#(letter(model).lowercased())" \#(rectangle)>"#
                    + "<title>\(tally.images) answers: confidence \(percent(tally.confidence)) %, "
                    + "right \(percent(tally.accuracy)) %</title></rect>"
            }
            let ticks = [0, 50, 100].map { value in
                #"<text x="34" y="\#(314 - 3 * value)" text-anchor="end">\#(value)</text>"#
                    + #"<text x="\#(40 + 3 * value)" y="327" text-anchor="middle">\#(value)</text>"#
            }
            let error = percent(metrics[model].calibrationError)
            return """
                <figure><svg viewBox="0 0 362 350" role="img" aria-label="Calibration of \(letter(model))">\
                <path class="axis" d="M40 10V310H340"/>\(marks.joined())\
                <path class="line" d="M40 310L340 10"/>\(ticks.joined())\
                <text x="190" y="345" text-anchor="middle">confidence, %</text>\
                <text x="14" y="160" text-anchor="middle" transform="rotate(-90 14 160)">right, %</text>\
                </svg>\
                <figcaption>\(badge(model)) expected calibration error \(error) %; \
                darker bars hold more answers</figcaption></figure>
                """
        }
        return #"<div class="pair">\#(diagrams.joined())</div>"#
    }

    // MARK: - Parts

    private func section(_ title: String, _ note: String?, _ content: String) -> String {
        HTMLPage.section(title, note, content)
    }

    private func letter(_ model: Int) -> String { model == 0 ? "A" : "B" }

    private func badge(_ model: Int) -> String {
        #"<b class="badge \#(letter(model).lowercased())">\#(letter(model))</b>"#
    }

    private func bar(_ model: Int, _ share: Double) -> String {
        #"<s class="\#(letter(model).lowercased())" style="width:\#(percent(share))%"></s>"#
    }

    /// Returns a share in percent: "91.3".
    private func percent(_ share: Double) -> String { String(format: "%.1f", 100 * share) }

    private func escaped(_ text: String) -> String { HTMLPage.escaped(text) }

    private static let style = """

        .models { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px;
          margin: 16px 0 0; }
        .models div { display: flex; gap: 10px; background: var(--card); border: 1px solid var(--line);
          border-radius: 8px; padding: 10px 12px; }
        .badge { display: inline-block; min-width: 1.5em; padding: 0 .3em; border-radius: 5px;
          text-align: center; font-size: 13px; color: var(--ground); }
        .badge.a, s.a { background: var(--a); } .badge.b, s.b { background: var(--b); }
        rect.a { fill: var(--a); } rect.b { fill: var(--b); }
        .lists { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; margin-top: 8px; }
        .lists > div { min-width: 0; }
        .lists ol { list-style: none; margin: 4px 0 0; padding: 0; font-size: 12px; }
        .lists li { display: grid; grid-template-columns: minmax(0, 1fr) auto; column-gap: 6px;
          color: var(--soft); }
        .lists li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
        .lists li.right { color: var(--right); font-weight: 600; }
        .lists i, .bar i { font-style: normal; font-variant-numeric: tabular-nums; }
        .lists s { grid-column: 1 / -1; height: 3px; border-radius: 2px; min-width: 1px;
          margin-bottom: 3px; }
        .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr));
          gap: 24px; }
        .pair > * { min-width: 0; }
        .matrix { font-size: 12px; font-variant-numeric: tabular-nums; }
        .matrix th { font-weight: 400; color: var(--soft); text-align: right; padding-right: 6px;
          white-space: nowrap; }
        .matrix thead th { padding: 0 0 4px; vertical-align: bottom; text-align: left; }
        .matrix thead span { writing-mode: vertical-rl; transform: rotate(180deg); max-height: 130px; }
        .matrix td { width: 32px; min-width: 26px; height: 26px; text-align: center;
          border: 1px solid var(--ground); }
        .matrix .right { background: color-mix(in srgb, var(--right) calc(var(--share) * .7), var(--card)); }
        .matrix .wrong { background: color-mix(in srgb, var(--wrong) calc(var(--share) * .9), var(--card)); }
        .drawn { max-width: 100%; shape-rendering: crispEdges; border: 1px solid var(--line); }
        .drawn .ground { fill: var(--card); } .drawn .right { fill: var(--right); }
        .drawn .wrong { fill: var(--wrong); }
        .axis { fill: none; stroke: var(--line); } .line { stroke: var(--ink); stroke-dasharray: 4 4;
          opacity: .6; }

        """
}
