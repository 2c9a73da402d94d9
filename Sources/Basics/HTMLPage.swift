/// Makes self-contained HTML pages with one look, for light and dark screens.
package enum HTMLPage {
    /// Returns a whole page.
    ///
    /// - Parameters:
    ///   - style: CSS besides the common one.
    ///   - body: HTML.
    package static func document(title: String, style: String = "", body: String) -> String {
        """
        <!DOCTYPE html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <title>\(escaped(title))</title>
        <style>\(commonStyle)\(style)</style>
        </head>
        <body>
        <main>
        \(body)
        </main>
        </body>
        </html>

        """
    }

    /// Returns a section with a heading; `content` is HTML.
    package static func section(_ title: String, _ note: String?, _ content: String) -> String {
        let note = note.map { #"<p class="note">\#(escaped($0))</p>"# } ?? ""
        return "<section><h2>\(escaped(title))</h2>\(note)\(content)</section>\n"
    }

    /// Returns text for HTML's elements and attributes.
    package static func escaped(_ text: String) -> String {
        text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
            .replacing("\"", with: "&quot;")
    }

    private static let commonStyle = """


        :root { --ground: #fbfbfa; --card: #fff; --ink: #1c1d1f; --soft: #62666d; --line: #dfe0e3;
          --a: #2f6fb7; --b: #c2621a; --right: #1f8a5b; --wrong: #b3372f; }
        @media (prefers-color-scheme: dark) {
          :root { --ground: #15171a; --card: #1e2125; --ink: #e8e8e6; --soft: #9ba0a8; --line: #363a40;
            --a: #6ea8e6; --b: #e79a5b; --right: #4cc08e; --wrong: #ea7f76; }
        }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--ground); color: var(--ink);
          font: 15px/1.5 system-ui, sans-serif; }
        main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
        h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
        h2 { font-size: 19px; margin: 44px 0 4px; }
        h3 { font-size: 15px; margin: 12px 0 6px; }
        p { margin: 6px 0; } .note { color: var(--soft); margin: 0 0 12px; } small { color: var(--soft); }
        dd { margin: 0; overflow-wrap: anywhere; }
        table { border-collapse: collapse; } .wide { overflow-x: auto; }
        .numbers th, .numbers td { padding: 6px 18px 6px 0; text-align: left;
          border-bottom: 1px solid var(--line); white-space: nowrap; }
        .numbers thead th { font-weight: 500; color: var(--soft); }
        .numbers { font-variant-numeric: tabular-nums; }
        .sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 14px; }
        figure { margin: 0; }
        .sheet figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
          overflow: hidden; }
        .sheet img { display: block; width: 100%; height: 180px; object-fit: contain;
          background: color-mix(in srgb, var(--line) 40%, var(--card)); }
        figcaption { padding: 8px 10px 10px; } .pair figcaption { color: var(--soft); }
        summary { cursor: pointer; padding: 8px 0; color: var(--soft); }
        .legend { overflow-wrap: anywhere; }
        .bars { width: 100%; } .bars th { font-weight: 400; text-align: right; padding: 4px 10px 4px 0;
          max-width: 34vw; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; width: 1%; }
        .bars td:nth-child(2) { width: 96%; }
        .bars td:last-child, .bars th:last-child { text-align: right; padding: 0 0 0 8px; width: 1%; }
        @media (max-width: 600px) { .bars td:last-child, .bars th:last-child { display: none; } }
        .bar { display: flex; align-items: center; gap: 6px; height: 15px; padding-right: 46px;
          font-size: 12px; }
        .bar s { height: 9px; border-radius: 2px; min-width: 1px; } .bar i { margin-right: -46px; }
        svg { width: 100%; max-width: 440px; height: auto; display: block; }
        svg text { fill: var(--soft); font-size: 12px; }

        """
}
