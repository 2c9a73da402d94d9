import Basics
import Evaluation
import Foundation

/// Reports an evaluation: the table of views, the greedy order, classes and confusion, as text, JSON and CSV.
struct ViewReport {
    let table: ViewTable
    let order: [GreedyOrder.Step]

    private var posteriors: Posteriors { table.posteriors }
    private var classes: [String] { posteriors.classes }
    private var final: Metrics { table.final.metrics }
    private var columns: [Metric] { Metric.shown(classes: classes.count) }

    /// The number of classes up to which text lists all of them.
    private static let listedClasses = 24
    /// The number of classes up to which text shows the whole confusion matrix.
    private static let matrixClasses = 12

    // MARK: - Text

    /// Prints the table of views and, if there are several, the greedy order.
    func print() {
        var lines = TextTable(
            header: ["model", "views", ""] + columns.map { Self.header($0) } + ["images/s"],
            [.left, .left, .right])
        for row in table.rows {
            lines.add(
                [weightedLabel(row), name(row), "\(row.mixture.members.count)"]
                    + columns.map { $0.cell(row.metrics) } + [Self.speed(row.imagesPerSecond)])
        }
        Swift.print(lines.text)
        if let (row, gain) = table.betterThanAll() {
            Swift.print(
                "better than all together: \(label(row)), \(row.name), by "
                    + String(format: "%.1f ± %.1f points", 100 * gain.difference, 100 * gain.halfWidth))
        }
        if order.count > 1 { printOrder() }
    }

    private func printOrder() {
        Swift.print("views in the order of their gain")
        var lines = TextTable(
            header: ["", Self.header(.top1), "gain (95 %)", Self.header(.loss), "images/s"], [.left, .right])
        for (place, step) in order.enumerated() {
            let source = posteriors.sources[step.source]
            let model = posteriors.models.count > 1 ? "\(posteriors.models[source.model]), " : ""
            let gain = step.gain.map {
                String(format: "%+.1f ± %.1f", 100 * $0.difference, 100 * $0.halfWidth)
            }
            lines.add([
                "  \(place + 1). \(model)\(source.view)", Metric.top1.cell(step.metrics), gain ?? "",
                Metric.loss.cell(step.metrics), Self.speed(step.imagesPerSecond),
            ])
        }
        Swift.print(lines.text)
    }

    /// Prints the final metrics of each class; of many classes, those with the lowest top-1 accuracy.
    func printClasses() {
        var shown = Array(final.byClass.enumerated().filter { $1.images > 0 })
        if shown.count > Self.listedClasses {
            Swift.print("the classes with the lowest top-1 (--csv and --json have all \(shown.count))")
            shown.sort { ($0.element.accuracy, $0.offset) < ($1.element.accuracy, $1.offset) }
            shown = Array(shown.prefix(10))
        }
        var lines = TextTable(
            header: ["class", "images"] + columns.filter(\.isOfClasses).map(\.title), [.left, .right])
        for (label, tally) in shown {
            lines.add(["  " + classes[label], "\(tally.images)"] + columns.compactMap { $0.cell(tally) })
        }
        Swift.print(lines.text)
    }

    /// Prints the confusion matrix; of many classes, the most frequent mistakes.
    func printConfusion() {
        let confusion = final.confusion
        if classes.count <= Self.matrixClasses {
            Swift.print("confusion (rows: true class, columns: answer)")
            var lines = TextTable([.right])
            for label in classes.indices {
                let counts = classes.indices.map { confusion[label, $0] }
                lines.add([String(classes[label].prefix(20))] + counts.map { $0 == 0 ? "·" : "\($0)" })
            }
            Swift.print(lines.text)
        } else if !confusion.mistakes.isEmpty {
            Swift.print("most often confused:")
            for (label, answer, count) in confusion.mistakes.prefix(10) {
                Swift.print("  \(count) × \(classes[label]) taken for \(classes[answer])")
            }
        }
    }

    /// Prints the classes that each model does not know, at most `limit` names per model.
    static func printUnknownClasses(of posteriors: Posteriors, limit: Int = .max) {
        for (model, names) in zip(posteriors.models, posteriors.unknownClasses) where !names.isEmpty {
            let number =
                names.count == 1 ? "1 class, which it gives 0" : "\(names.count) classes, which it gives 0"
            Swift.print("\(model) does not know \(number): \(names.listed(atMost: limit))")
        }
    }

    /// Returns the row's name, with its short sides if they are several of one model.
    private func name(_ row: ViewTable.Row) -> String {
        let sides = Set(row.mixture.members.map { posteriors.sources[$0.source].view.shortSide }).sorted()
        return row.model == nil || sides.count < 2
            ? row.name : "\(row.name) \(sides.map(\.description).joined(separator: ","))"
    }

    private func label(_ row: ViewTable.Row) -> String {
        row.model.map { posteriors.models[$0] } ?? "all models"
    }

    /// Returns the label, with the models' weights if they are not equal.
    private func weightedLabel(_ row: ViewTable.Row) -> String {
        guard row.model == nil, let weights = table.weights else { return label(row) }
        return "all models by " + weights.map { String(format: "%g", $0) }.joined(separator: ",")
    }

    private static func header(_ metric: Metric) -> String {
        metric.title + (metric.isShare ? " (95 %)" : "")
    }

    private static func speed(_ imagesPerSecond: Double?) -> String {
        imagesPerSecond.map { String(format: $0 < 100 ? "%.1f" : "%.0f", $0) } ?? "–"
    }

    // MARK: - JSON

    /// The final metrics, then every row, the greedy order, every class, confusion and calibration.
    var json: JSON {
        let rows = table.rows.map { row -> JSON in
            ["model": row.model.map { posteriors.models[$0] }, "name": row.name] + row.metrics.json + [
                "images_per_second": row.imagesPerSecond,
                "views": row.mixture.members.map { view($0.source) },
            ]
        }
        let greedy = order.map { step -> JSON in
            ["view": view(step.source)] + step.metrics.json + [
                "gain": step.gain?.difference, "gain_half_width": step.gain?.halfWidth,
                "images_per_second": step.imagesPerSecond,
            ]
        }
        let byClass = zip(classes, final.byClass).map { name, tally -> JSON in
            ["class": name, "images": tally.images]
                + .object(
                    Metric.all.compactMap { metric in
                        metric.json(of: tally).map { JSON.Member(metric.key, $0) }
                    })
        }
        let confusion = final.confusion.entries.map { entry -> JSON in
            ["class": classes[entry.label], "answer": classes[entry.answer], "images": entry.count]
        }
        let calibration = final.calibration.map { tally -> JSON in
            ["images": tally.images, "top1": tally.top1, "confidence": tally.confidence]
        }
        let unknown = zip(posteriors.models, posteriors.unknownClasses).filter { !$1.isEmpty }.map {
            ["model": $0, "classes": $1] as JSON
        }
        return final.json + [
            "weights": table.weights, "rows": rows, "greedy": greedy, "classes": byClass,
            "confusion": confusion, "calibration": calibration, "unknown_classes": unknown,
            "failures": posteriors.leftOut,
        ]
    }

    private func view(_ index: Int) -> JSON {
        let source = posteriors.sources[index]
        return ["model": posteriors.models[source.model]] + source.view.json
    }

    // MARK: - CSV

    /// Returns the files of `--csv`: `a.csv`, `a.classes.csv` and `a.confusion.csv`.
    static func csvFiles(_ path: String) -> [String] {
        let stem = path.lowercased().hasSuffix(".csv") ? String(path.dropLast(4)) : path
        return [path, stem + ".classes.csv", stem + ".confusion.csv"]
    }

    /// The content of the three files.
    ///
    /// One line per row of the table; then, for each model with all of its views and for all models, one line
    /// per class; then one line per class and answer.
    var csv: [String] {
        let rows = table.rows.map { row in
            let numbers = Metric.all.flatMap { metric in
                [metric.value(row.metrics)] + (metric.interval(row.metrics).map { [$0.low, $0.high] } ?? [])
            }
            return [label(row), row.name, "\(row.mixture.members.count)", "\(row.metrics.images)"]
                + numbers.map(\.description) + [row.imagesPerSecond?.description ?? ""]
        }
        let keys = Metric.all.flatMap { metric in
            [metric.key] + (metric.isShare ? ["\(metric.key)_low", "\(metric.key)_high"] : [])
        }
        let whole =
            posteriors.models.indices.compactMap { table.best(model: $0) }
            + (posteriors.models.count > 1 ? [table.final] : [])
        let byClass = whole.flatMap { row in
            zip(classes, row.metrics.byClass).map { name, tally in
                [label(row), name, "\(tally.images)"]
                    + Metric.all.compactMap { $0.json(of: tally) }.map { $0 == .null ? "" : $0.text }
            }
        }
        let confusion = whole.flatMap { row in
            row.metrics.confusion.entries.map {
                [label(row), classes[$0.label], classes[$0.answer], "\($0.count)"]
            }
        }
        return [
            CSV.text(
                header: ["model", "name", "views", "images"] + keys + ["images_per_second"], rows: rows),
            CSV.text(
                header: ["model", "class", "images"] + Metric.all.filter(\.isOfClasses).map(\.key),
                rows: byClass),
            CSV.text(header: ["model", "class", "answer", "images"], rows: confusion),
        ]
    }
}
