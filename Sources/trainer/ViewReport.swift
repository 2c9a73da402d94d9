import Basics
import Evaluation
import Foundation

/// The table of views, for people, as JSON and as CSV.
struct ViewReport {
    let table: ViewTable
    let order: [GreedyOrder.Step]

    private var posteriors: Posteriors { table.posteriors }

    private var hasTop5: Bool { posteriors.classes.count > 5 }

    /// With the short sides, where they are a model's own and more than one.
    private func name(_ row: ViewTable.Row) -> String {
        let sides = Set(row.mixture.members.map { posteriors.sources[$0.source].view.shortSide }).sorted()
        return row.model == nil || sides.count < 2
            ? row.name : "\(row.name) \(sides.map(\.description).joined(separator: ","))"
    }

    private func label(_ row: ViewTable.Row) -> String {
        row.model.map { posteriors.models[$0] } ?? "all models"
    }

    /// With the weights, where they are not equal.
    private func weightedLabel(_ row: ViewTable.Row) -> String {
        guard row.model == nil, let weights = table.weights else { return label(row) }
        return "all models by " + weights.map { String(format: "%g", $0) }.joined(separator: ",")
    }

    func print() {
        func line(_ row: ViewTable.Row) -> [String] {
            let top5 = hasTop5 ? [interval(row.metrics.top5, row.metrics.top5Interval)] : []
            return [
                weightedLabel(row), name(row), "\(row.mixture.members.count)",
                interval(row.metrics.top1, row.metrics.top1Interval),
            ] + top5 + [
                String(format: "%.4f", row.metrics.loss),
                String(format: "%.1f", 100 * row.metrics.calibrationError), speed(row.imagesPerSecond),
            ]
        }
        let head =
            ["model", "views", "", "top-1 in % (95 %)"] + (hasTop5 ? ["top-5 in % (95 %)"] : []) + [
                "loss", "calibration error", "images/s",
            ]
        Self.printColumns([head] + table.rows.map(line), left: 2)
        if let (row, gain) = table.betterThanAll() {
            Swift.print(
                "better than all together: \(label(row)), \(row.name), by "
                    + String(format: "%.1f ± %.1f points", 100 * gain.difference, 100 * gain.halfWidth))
        }
        guard order.count > 1 else { return }
        Swift.print("views by what each next one adds")
        let lines = order.enumerated().map { place, step in
            let source = posteriors.sources[step.source]
            let model = posteriors.models.count > 1 ? "\(posteriors.models[source.model]), " : ""
            return [
                "  \(place + 1). \(model)\(source.view)",
                interval(step.metrics.top1, step.metrics.top1Interval),
                step.gain.map { String(format: "%+.1f ± %.1f", 100 * $0.difference, 100 * $0.halfWidth) }
                    ?? "", String(format: "%.4f", step.metrics.loss), speed(step.imagesPerSecond),
            ]
        }
        Self.printColumns([["", "top-1 in % (95 %)", "gain (95 %)", "loss", "images/s"]] + lines, left: 1)
    }

    private func interval(_ share: Double, _ interval: Interval) -> String {
        String(format: "%5.1f (%.1f–%.1f)", 100 * share, 100 * interval.low, 100 * interval.high)
    }

    private func speed(_ imagesPerSecond: Double?) -> String {
        imagesPerSecond.map { String(format: $0 < 100 ? "%.1f" : "%.0f", $0) } ?? "–"
    }

    /// What each class got by the final answer: all of them where they fit a screen, else those that fare
    /// worst.
    func printClasses() {
        let all = table.final.metrics.byClass.enumerated().filter { $1.images > 0 }
        let isShort = all.count <= 24
        let shown =
            isShort
            ? all
            : Array(
                all.sorted { ($0.element.accuracy, $0.offset) < ($1.element.accuracy, $1.offset) }.prefix(10))
        if !isShort {
            Swift.print("the classes with the lowest top-1 (--csv and --json have all \(all.count))")
        }
        let lines = shown.map { label, share in
            [
                "  " + posteriors.classes[label], "\(share.images)",
                String(format: "%.1f", 100 * share.accuracy),
            ] + (hasTop5 ? [String(format: "%.1f", 100 * Double(share.top5) / Double(share.images))] : []) + [
                String(format: "%.4f", share.loss)
            ]
        }
        Self.printColumns(
            [["class", "images", "top-1 in %"] + (hasTop5 ? ["top-5 in %"] : []) + ["loss"]] + lines, left: 1)
    }

    /// Names every class that a model does not know, or the first few.
    static func printUnknownClasses(of posteriors: Posteriors, limit: Int = .max) {
        for (model, names) in zip(posteriors.models, posteriors.unknownClasses) where !names.isEmpty {
            let number =
                names.count == 1 ? "1 class, which it gives 0" : "\(names.count) classes, which it gives 0"
            let rest = names.count > limit ? " and \(names.count - limit) more" : ""
            Swift.print(
                "\(model) does not know \(number): \(names.prefix(limit).joined(separator: ", "))\(rest)")
        }
    }

    /// Rows in columns, the first `left` of them flush left, the others flush right.
    static func printColumns(_ rows: [[String]], left: Int) {
        for line in columns(rows, left: left) { Swift.print(line) }
    }

    /// The lines of `printColumns`.
    static func columns(_ rows: [[String]], left: Int) -> [String] {
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            let cells = row.enumerated().map { column, text in
                let space = String(repeating: " ", count: widths[column] - text.count)
                return column < left ? text + space : space + text
            }
            return cells.joined(separator: "  ").replacing(/\ +$/, with: "")
        }
    }

    private func members(_ metrics: Metrics) -> [JSON.Member] {
        func interval(_ value: Interval) -> JSON { .array([.number(value.low), .number(value.high)]) }
        return [
            .init("top1", .number(metrics.top1)), .init("top5", .number(metrics.top5)),
            .init("loss", .number(metrics.loss)), .init("images", .integer(metrics.images)),
            .init("top1_interval", interval(metrics.top1Interval)),
            .init("top5_interval", interval(metrics.top5Interval)),
            .init("calibration_error", .number(metrics.calibrationError)),
        ]
    }

    private func view(_ index: Int) -> JSON {
        let source = posteriors.sources[index]
        return .object([
            .init("model", .string(posteriors.models[source.model])),
            .init("short_side", .integer(source.view.shortSide)), .init("dense", .bool(source.view.isDense)),
            .init("mirrored", .bool(source.view.isMirrored)),
        ])
    }

    /// The numbers of the final answer, then of every row, the greedy order, every class and the confusion.
    var json: JSON {
        let final = table.final.metrics
        let classes = posteriors.classes
        let rows = table.rows.map { row in
            JSON.object(
                [
                    .init("model", row.model.map { .string(posteriors.models[$0]) } ?? .null),
                    .init("name", .string(row.name)),
                ] + members(row.metrics) + [
                    .init("images_per_second", row.imagesPerSecond.map { .number($0) } ?? .null),
                    .init("views", .array(row.mixture.members.map { view($0.source) })),
                ])
        }
        let greedy = order.map { step in
            JSON.object(
                [.init("view", view(step.source))] + members(step.metrics) + [
                    .init("gain", step.gain.map { .number($0.difference) } ?? .null),
                    .init("gain_half_width", step.gain.map { .number($0.halfWidth) } ?? .null),
                    .init("images_per_second", step.imagesPerSecond.map { .number($0) } ?? .null),
                ])
        }
        let byClass = zip(classes, final.byClass).map { name, share in
            JSON.object([
                .init("class", .string(name)), .init("images", .integer(share.images)),
                .init("top1", .integer(share.top1)), .init("top5", .integer(share.top5)),
                .init("loss", share.images > 0 ? .number(share.loss) : .null),
            ])
        }
        let confusion = final.confusion.entries.map {
            JSON.object([
                .init("class", .string(classes[$0.label])), .init("answer", .string(classes[$0.answer])),
                .init("images", .integer($0.count)),
            ])
        }
        let calibration = final.calibration.map { share in
            JSON.object([
                .init("images", .integer(share.images)), .init("top1", .integer(share.top1)),
                .init("confidence", .number(share.confidence)),
            ])
        }
        let unknown = zip(posteriors.models, posteriors.unknownClasses).filter { !$1.isEmpty }.map {
            model, names in
            JSON.object([.init("model", .string(model)), .init("classes", .array(names.map { .string($0) }))])
        }
        return .object(
            members(final) + [
                .init("weights", table.weights.map { .array($0.map { .number($0) }) } ?? .null),
                .init("rows", .array(rows)), .init("greedy", .array(greedy)),
                .init("classes", .array(byClass)), .init("confusion", .array(confusion)),
                .init("calibration", .array(calibration)), .init("unknown_classes", .array(unknown)),
                .init("failures", .array(posteriors.leftOut.map { .string($0) })),
            ])
    }

    /// A field of a CSV file.
    static func quoted(_ text: String) -> String {
        text.contains { "\",\n\r".contains($0) } ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
    }

    /// The files of `--csv`: `a.csv`, `a.classes.csv` and `a.confusion.csv`.
    static func csvFiles(_ path: String) -> [String] {
        let stem = path.lowercased().hasSuffix(".csv") ? String(path.dropLast(4)) : path
        return [path, stem + ".classes.csv", stem + ".confusion.csv"]
    }

    /// The table, a line a row; then for each model by all of its views, and for all models, a line a class;
    /// then a line for each class and answer.
    var csv: [String] {
        func lines(_ head: String, _ rows: [[String]]) -> String {
            ([head] + rows.map { $0.map(Self.quoted).joined(separator: ",") }).joined(separator: "\n") + "\n"
        }
        let rows = table.rows.map { row in
            let metrics = row.metrics
            let numbers = [
                metrics.top1, metrics.top1Interval.low, metrics.top1Interval.high, metrics.top5,
                metrics.top5Interval.low, metrics.top5Interval.high, metrics.loss, metrics.calibrationError,
            ]
            return [label(row), row.name, "\(row.mixture.members.count)", "\(metrics.images)"]
                + numbers.map(\.description) + [row.imagesPerSecond?.description ?? ""]
        }
        let whole =
            posteriors.models.indices.compactMap { table.best(model: $0) }
            + (posteriors.models.count > 1 ? [table.final] : [])
        let classes = posteriors.classes
        let byClass = whole.flatMap { row in
            zip(classes, row.metrics.byClass).map { name, share in
                [
                    label(row), name, "\(share.images)", "\(share.top1)", "\(share.top5)",
                    share.images > 0 ? "\(share.loss)" : "",
                ]
            }
        }
        let confusion = whole.flatMap { row in
            row.metrics.confusion.entries.map {
                [label(row), classes[$0.label], classes[$0.answer], "\($0.count)"]
            }
        }
        return [
            lines(
                "model,name,views,images,top1,top1_low,top1_high,top5,top5_low,top5_high,loss,calibration_error,images_per_second",
                rows), lines("model,class,images,top1,top5,loss", byClass),
            lines("model,class,answer,images", confusion),
        ]
    }
}
