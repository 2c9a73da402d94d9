import Evaluation
import Foundation
import ImageData
import ModelFiles

/// The table of views, for people, as JSON and as CSV.
struct ViewReport {
    let table: ViewTable
    let order: [ViewTable.Step]

    private var posteriors: Posteriors { table.posteriors }

    private var hasTop5: Bool { posteriors.classes.count > 5 }

    private func label(_ row: ViewTable.Row) -> String { row.model.map { posteriors.models[$0] } ?? "all models" }

    func print() {
        func interval(_ share: Double, _ interval: Interval) -> String {
            String(format: "%5.1f (%.1f–%.1f)", 100 * share, 100 * interval.low, 100 * interval.high)
        }
        func line(_ row: ViewTable.Row) -> [String] {
            let top5 = hasTop5 ? [interval(row.metrics.top5, row.metrics.top5Interval)] : []
            return [label(row), row.name, "\(row.sources.count)", interval(row.metrics.top1, row.metrics.top1Interval)] + top5 + [
                String(format: "%.4f", row.metrics.loss), String(format: "%.1f", 100 * row.metrics.calibrationError),
                row.imagesPerSecond.map { String(format: $0 < 100 ? "%.1f" : "%.0f", $0) } ?? "–",
            ]
        }
        let head =
            ["model", "views", "", "top-1 in % (95 %)"] + (hasTop5 ? ["top-5 in % (95 %)"] : []) + [
                "loss", "calibration error", "images/s",
            ]
        Self.printColumns([head] + table.rows.map(line), left: 2)
        guard order.count > 1 else { return }
        Swift.print("views by what each next one adds")
        var last: Metrics?
        var lines: [[String]] = []
        for (place, step) in order.enumerated() {
            let gain = last.map { String(format: "%+.1f", 100 * (step.metrics.top1 - $0.top1)) } ?? ""
            let source = posteriors.sources[step.source]
            let model = posteriors.models.count > 1 ? "\(posteriors.models[source.model]), " : ""
            lines.append([
                "  \(place + 1). \(model)\(source.view)", String(format: "%.1f", 100 * step.metrics.top1), gain,
                String(format: "loss %.4f", step.metrics.loss),
            ])
            last = step.metrics
        }
        Self.printColumns(lines, left: 1)
    }

    /// Rows in columns, the first `left` of them flush left, the others flush right.
    static func printColumns(_ rows: [[String]], left: Int) {
        let widths = (rows.first ?? []).indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
        for row in rows {
            let cells = row.enumerated().map { column, text in
                let space = String(repeating: " ", count: widths[column] - text.count)
                return column < left ? text + space : space + text
            }
            Swift.print(cells.joined(separator: "  ").replacing(/\ +$/, with: ""))
        }
    }

    private func members(_ metrics: Metrics) -> [JSON.Member] {
        func interval(_ value: Interval) -> JSON { .array([.number(value.low), .number(value.high)]) }
        return [
            .init("top1", .number(metrics.top1)), .init("top5", .number(metrics.top5)), .init("loss", .number(metrics.loss)),
            .init("images", .integer(metrics.images)), .init("top1_interval", interval(metrics.top1Interval)),
            .init("top5_interval", interval(metrics.top5Interval)), .init("calibration_error", .number(metrics.calibrationError)),
        ]
    }

    private func view(_ index: Int) -> JSON {
        let source = posteriors.sources[index]
        return .object([
            .init("model", .string(posteriors.models[source.model])), .init("short_side", .integer(source.view.shortSide)),
            .init("dense", .bool(source.view.isDense)), .init("mirrored", .bool(source.view.isMirrored)),
        ])
    }

    /// The numbers of the final answer, then of every row, the greedy order, every class and the confusion.
    /// - Parameter failures: photographs that are left out
    func json(failures: [ImageError]) -> JSON {
        let final = table.final.metrics
        let rows = table.rows.map { row in
            JSON.object(
                [.init("model", row.model.map { .string(posteriors.models[$0]) } ?? .null), .init("name", .string(row.name))]
                    + members(row.metrics) + [
                        .init("images_per_second", row.imagesPerSecond.map { .number($0) } ?? .null),
                        .init("views", .array(row.sources.map(view))),
                    ])
        }
        let greedy = order.map { JSON.object([.init("view", view($0.source))] + members($0.metrics)) }
        let classes = zip(posteriors.classes, final.byClass).map { name, share in
            JSON.object([
                .init("class", .string(name)), .init("images", .integer(share.images)), .init("top1", .integer(share.top1)),
                .init("top5", .integer(share.top5)), .init("loss", .number(share.loss / Double(max(1, share.images)))),
            ])
        }
        let calibration = final.calibration.map { share in
            JSON.object([
                .init("images", .integer(share.images)), .init("top1", .integer(share.top1)),
                .init("confidence", .number(share.confidence / Double(max(1, share.images)))),
            ])
        }
        return .object(
            members(final) + [
                .init("rows", .array(rows)), .init("greedy", .array(greedy)), .init("classes", .array(classes)),
                .init("confusion", .array(final.confusion.map { .array($0.map { .integer($0) }) })),
                .init("calibration", .array(calibration)), .init("failures", .array(failures.map { .string("\($0)") })),
            ])
    }

    /// One line a row of the table.
    var csv: String {
        func quoted(_ text: String) -> String {
            text.contains { "\",\n\r".contains($0) } ? "\"" + text.replacing("\"", with: "\"\"") + "\"" : text
        }
        let head =
            "model,name,views,images,top1,top1_low,top1_high,top5,top5_low,top5_high,loss,calibration_error,images_per_second"
        let lines = table.rows.map { row in
            let metrics = row.metrics
            let numbers = [
                metrics.top1, metrics.top1Interval.low, metrics.top1Interval.high, metrics.top5, metrics.top5Interval.low,
                metrics.top5Interval.high, metrics.loss, metrics.calibrationError,
            ]
            return
                ([quoted(label(row)), row.name, "\(row.sources.count)", "\(metrics.images)"] + numbers.map(\.description)
                + [row.imagesPerSecond?.description ?? ""]).joined(separator: ",")
        }
        return ([head] + lines).joined(separator: "\n") + "\n"
    }
}
