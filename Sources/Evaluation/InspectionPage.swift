import Basics
import Foundation
import Photographs

/// Renders what an inspection of photographs has found: as lines, as JSON and as a self-contained HTML page.
public struct InspectionPage {
    private let inspection: Inspection
    private let title: String
    /// A JPEG file with some photographs of each class.
    private let sheets: [[UInt8]?]
    /// Why `train` would stop.
    private let refusals: [String]

    /// The most entries of a list on the page, and in JSON.
    private static let shown = 24
    private static let listed = 10_000
    private static let listedMembers = 100

    /// - Parameters:
    ///   - sheets: what `Inspection.contactSheets` gives; empty for a page without them.
    ///   - refusals: why `train` would stop, in its words.
    public init(_ inspection: Inspection, title: String, sheets: [[UInt8]?] = [], refusals: [String] = []) {
        (self.inspection, self.title, self.sheets, self.refusals) = (inspection, title, sheets, refusals)
    }

    // MARK: - What a person should look at

    /// One line for each thing that may be wrong.
    public var findings: [String] {
        var lines = refusals.map { "`train` stops with: " + $0 }
        func add(_ count: Int, _ one: String, _ many: String) {
            if count > 0 { lines.append(count == 1 ? "1 \(one)" : "\(count) \(many)") }
        }
        add(inspection.unreadable.count, "photograph cannot be read", "photographs cannot be read")
        let unused = inspection.unused.count - inspection.unused.count(.hidden)
        add(
            unused, "file is not used, beside \(inspection.count) photographs",
            "files are not used, beside \(inspection.count) photographs")
        let parts = inspection.parts.map { "“\($0.name)”" }.joined(separator: " and ")
        add(
            inspection.copiesAcrossParts, "photograph is in both parts, \(parts), or looks like a copy",
            "photographs are in both parts, \(parts), or look like copies")
        add(
            inspection.copies.count(where: \.hasSeveralClasses), "photograph is in several classes",
            "photographs are in several classes")
        let (exact, near) = inspection.extraCopies
        add(exact, "file is an exact copy of another one", "files are exact copies of others")
        add(near, "photograph looks like a copy of another one", "photographs look like copies of others")
        add(
            inspection.stretched.count,
            "photograph is at least \(Self.ratio) times as long in one direction as in the other",
            "photographs are at least \(Self.ratio) times as long in one direction as in the other")
        add(
            inspection.greyContent, "colour file shows only shades of grey",
            "colour files show only shades of grey")
        let totals = inspection.classes.indices.map { label in inspection.counts.reduce(0) { $0 + $1[label] }
        }
        if let largest = totals.max(), let smallest = totals.min(), largest >= 10 * max(1, smallest) {
            let names = [largest, smallest].map { count in
                totals.firstIndex(of: count).map { inspection.classes[$0] } ?? ""
            }
            lines.append(
                "class “\(names[0])” has \(largest) photographs and “\(names[1])” has \(smallest)")
        }
        return lines
    }

    private static var ratio: String { String(format: "%.0f", Inspection.unusualRatio) }

    // MARK: - Text

    /// The lines that a terminal shows.
    public var lines: [String] {
        let parts = inspection.parts.map { "\($0.count) \($0.name)" }.joined(separator: ", ")
        var lines = [
            "\(inspection.count) photographs of \(inspection.classes.count) classes: \(parts); "
                + MemorySize.text(inspection.byteCount)
        ]
        var table = TextTable(header: ["", "min", "1 %", "median", "99 %", "max"], [.left, .right])
        for (name, sides) in sides {
            table.add([name] + Self.shares.map { "\(Inspection.quantile($0, of: sides))" })
        }
        lines += table.lines
        lines.append("formats: " + Self.text(inspection.formats))
        lines.append("colours: " + Self.text(inspection.colours))
        lines += inspection.remarks
        lines += findings.isEmpty ? ["nothing unusual was found"] : findings.map { "look at: " + $0 }
        return lines
    }

    private var sides: [(String, [Int])] {
        [("shorter side", inspection.shortSides), ("longer side", inspection.longSides)]
    }

    private static let shares = [0, 0.01, 0.5, 0.99, 1]

    private static func text(_ counts: [(name: String, count: Int)]) -> String {
        counts.map { "\($0.count) \($0.name)" }.joined(separator: "; ")
    }

    // MARK: - JSON

    public var json: JSON {
        func object(_ counts: [(name: String, count: Int)]) -> JSON {
            .object(counts.map { JSON.Member($0.name, .integer($0.count)) })
        }
        let classes = inspection.classes.indices.map { label -> JSON in
            let counts = zip(inspection.parts, inspection.counts).map {
                JSON.Member($0.name, .integer($1[label]))
            }
            return ["name": inspection.classes[label], "photographs": JSON.object(counts)]
        }
        let sides = sides.map { name, sides in
            JSON.Member(
                name.replacing(" ", with: "_"),
                .object(
                    zip(["min", "p1", "median", "p99", "max"], Self.shares).map {
                        JSON.Member($0, .integer(Inspection.quantile($1, of: sides)))
                    }))
        }
        let copies = inspection.copies.prefix(Self.listed).map { group -> JSON in
            [
                "photographs": group.members.prefix(Self.listedMembers).map { json($0) },
                "count": group.members.count, "exact": group.isExact, "in_both_parts": group.isInBothParts,
                "several_classes": group.hasSeveralClasses,
            ]
        }
        let (exact, near) = inspection.extraCopies
        return [
            "photographs": inspection.count, "readable": inspection.readableCount,
            "bytes": inspection.byteCount,
            "parts": inspection.parts.map {
                ["name": $0.name, "path": $0.path, "photographs": $0.count] as JSON
            },
            "classes": classes, "sizes": JSON.object(sides), "formats": object(inspection.formats),
            "colours": object(inspection.colours), "grey_content": inspection.greyContent,
            "findings": findings, "refusals": refusals, "remarks": inspection.remarks,
            "unused_count": inspection.unused.count,
            "unused": inspection.unused.files.map {
                ["file": $0.path, "kind": $0.kind, "reason": $0.reason] as JSON
            },
            "unreadable": inspection.unreadable.prefix(Self.listed).map {
                ["file": $0.file, "problem": $0.description] as JSON
            },
            "exact_copies": exact, "near_copies": near, "copies_across_parts": inspection.copiesAcrossParts,
            "copies": copies, "stretched": inspection.stretched.prefix(Self.listed).map { json($0) },
        ]
    }

    private func json(_ index: Int) -> JSON {
        let photograph = inspection.photograph(index)
        return [
            "name": photograph.name, "class": photograph.className, "part": photograph.part,
            "width": photograph.width, "height": photograph.height,
        ]
    }

    // MARK: - Page

    /// Returns the whole page.
    public func html() throws -> String {
        var body =
            "<header><h1>\(HTMLPage.escaped(title))</h1>"
            + "<p>\(HTMLPage.escaped(lines[0]))</p></header>\n"
        let looks = findings.isEmpty ? ["nothing unusual was found"] : findings
        body += HTMLPage.section("What to look at", nil, Self.list(looks))
        body += HTMLPage.section("Sizes and formats", nil, sizes())
        if !inspection.unreadable.isEmpty {
            let shown = inspection.unreadable.prefix(200).map(\.description)
            body += HTMLPage.section(
                "Unreadable files", Self.note(inspection.unreadable.count, shown.count), Self.list(shown))
        }
        body += unused()
        body += try copies(
            "In both parts", "A network is measured by photographs that it has learnt.",
            inspection.copies.filter(\.isInBothParts))
        body += try copies(
            "In several classes", "The same photograph, or one that looks like it, has different classes.",
            inspection.copies.filter { $0.hasSeveralClasses && !$0.isInBothParts })
        body += try copies(
            "Other copies", "Several times the same photograph, or photographs that look alike.",
            inspection.copies.filter { !$0.hasSeveralClasses && !$0.isInBothParts })
        if !inspection.stretched.isEmpty {
            let shown = Array(inspection.stretched.prefix(Self.shown))
            body += HTMLPage.section(
                "Unusual proportions", Self.note(inspection.stretched.count, shown.count),
                try picture(shown, columns: 8) + Self.list(shown.map(name)))
        }
        body += HTMLPage.section(
            "Classes", "Photographs in each part, and some of them; the crop is the middle.", classes())
        if !inspection.remarks.isEmpty {
            body += HTMLPage.section("How the photographs were read", nil, Self.list(inspection.remarks))
        }
        return HTMLPage.document(title: title, style: Self.style, body: body)
    }

    /// The files that are not used, one by one.
    private func unused() -> String {
        let files = inspection.unused.files
        guard !files.isEmpty else { return "" }
        let rows = files.map { file in
            "<tr>" + [file.path, file.kind, file.reason].map { "<td>\(HTMLPage.escaped($0))</td>" }.joined()
                + "</tr>"
        }
        return HTMLPage.section(
            "Files that are not used", Self.note(inspection.unused.count, files.count),
            #"<div class="wide"><table class="numbers"><thead><tr><th>file</th><th>kind</th>"#
                + "<th>why</th></tr></thead><tbody>\(rows.joined())</tbody></table></div>")
    }

    private static func note(_ count: Int, _ shown: Int) -> String? {
        shown < count ? "\(shown) of \(count) are shown." : nil
    }

    private static func list(_ lines: [String]) -> String {
        "<ul>" + lines.map { "<li>\(HTMLPage.escaped($0))</li>" }.joined() + "</ul>"
    }

    private func sizes() -> String {
        let head = ["", "min", "1 %", "median", "99 %", "max"].map { "<th>\($0)</th>" }.joined()
        let rows = sides.map { name, sides in
            "<tr><th>\(name), pixels</th>"
                + Self.shares.map { "<td>\(Inspection.quantile($0, of: sides))</td>" }.joined() + "</tr>"
        }
        func counts(_ name: String, _ counts: [(name: String, count: Int)]) -> String {
            "<h3>\(name)</h3>" + Self.list(counts.map { "\($0.count) \($0.name)" })
        }
        return #"<table class="numbers"><thead><tr>\#(head)</tr></thead><tbody>\#(rows.joined())</tbody>"#
            + "</table>" + counts("Formats", inspection.formats) + counts("Colours", inspection.colours)
    }

    private func copies(_ title: String, _ note: String, _ groups: [Inspection.Copies]) throws -> String {
        guard !groups.isEmpty else { return "" }
        let figures = try groups.prefix(Self.shown).map { group in
            let members = Array(group.members.prefix(4))
            let kind = group.isExact ? "the same file" : "look alike"
            let rest = group.members.count > members.count ? ", \(members.count) shown" : ""
            return "<figure>\(try picture(members, columns: 4))<figcaption>"
                + "<small>\(group.members.count) photographs, \(kind)\(rest)</small>"
                + Self.list(members.map(name)) + "</figcaption></figure>"
        }
        let more = Self.note(groups.count, figures.count).map { " " + $0 } ?? ""
        return HTMLPage.section(title, note + more, #"<div class="copies">\#(figures.joined())</div>"#)
    }

    private func name(_ index: Int) -> String {
        let photograph = inspection.photograph(index)
        return "\(photograph.name) (\(photograph.part), \(photograph.className), "
            + "\(photograph.width)×\(photograph.height))"
    }

    private func picture(_ indices: [Int], columns: Int) throws -> String {
        try Self.image(inspection.contactSheet(indices, columns: columns), "")
    }

    private static func image(_ jpeg: [UInt8]?, _ text: String) -> String {
        guard let jpeg else { return "<p>None can be read.</p>" }
        return #"<img src="data:image/jpeg;base64,\#(Data(jpeg).base64EncodedString())" "#
            + #"alt="\#(HTMLPage.escaped(text))" loading="lazy">"#
    }

    private func classes() -> String {
        let most = max(1, inspection.counts.flatMap { $0 }.max() ?? 1)
        let rows = inspection.classes.indices.map { label -> String in
            let bars = inspection.counts.enumerated().map { part, counts in
                let share = String(format: "%.1f", 100 * Double(counts[label]) / Double(most))
                return #"<div class="bar"><s class="p\#(part)" style="width:\#(share)%">"#
                    + "</s><i>\(counts[label])</i></div>"
            }
            let sheet =
                sheets.indices.contains(label) ? Self.image(sheets[label], inspection.classes[label]) : ""
            return "<figure><figcaption><b>\(HTMLPage.escaped(inspection.classes[label]))</b>"
                + "\(bars.joined())</figcaption>\(sheet)</figure>"
        }
        let legend = inspection.parts.enumerated().map { part, of in
            #"<s class="p\#(part)"></s> \#(HTMLPage.escaped(of.name))"#
        }
        return #"<p class="legend">\#(legend.joined(separator: " &nbsp; "))</p>"#
            + #"<div class="classes">\#(rows.joined(separator: "\n"))</div>"#
    }

    private static let style = """

        ul { margin: 6px 0; padding-left: 20px; overflow-wrap: anywhere; } img { max-width: 100%; }
        .bar i { font-style: normal; font-variant-numeric: tabular-nums; }
        s.p0 { background: var(--a); } s.p1 { background: var(--b); }
        .legend s { display: inline-block; width: 12px; height: 12px; border-radius: 2px; }
        .copies { display: grid; gap: 14px;
          grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); }
        .copies figure, .classes figure { background: var(--card); border: 1px solid var(--line);
          border-radius: 8px; padding: 8px; margin-bottom: 10px; }
        .copies figcaption { font-size: 13px; padding: 4px 2px; }

        """
}
