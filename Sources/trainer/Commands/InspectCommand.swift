import ArgumentParser
import Basics
import Configuration
import Evaluation
import Foundation
import Photographs
import Runs

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a person should know about photographs before training with them.",
        discussion: """
            Reads every photograph: classes and counts, sizes, formats, kinds of colour, unreadable files, \
            copies, photographs that are in both parts, unusual proportions, and a contact sheet per class.
            """)

    @Argument(help: "Labelled photographs, as for --data of `train`.") var photographs: String?
    @Option(name: .customLong("data"), help: "The same as the argument.") var dataOption: String?
    @Option(help: "List of the photographs' files and classes (CSV), if they are not in class folders.")
    var labels: String?

    @Option(help: "Write a page with pictures to this file (.html).") var out: String?
    @OptionGroup var output: JSONOptions
    @Option(help: "Share that training will hold out if there is no validation part.")
    var valFraction = TrainingOptions().validationFraction
    @Option(help: "Threads that read. Default: one for each core.") var workers: Int?

    private var data: String { photographs ?? dataOption ?? "" }

    func validate() throws {
        guard (photographs == nil) != (dataOption == nil) else {
            throw ValidationError(
                "expected one folder of photographs, as the argument or with --data: "
                    + "trainer inspect PHOTOGRAPHS")
        }
        try requireAsTrain("workers", workers)
        guard valFraction >= 0 && valFraction < 1 else {
            throw ValidationError("--val-fraction \(valFraction): expected at least 0 and below 1")
        }
        if let out, !out.lowercased().hasSuffix(".html") {
            throw ValidationError("--out \(out): expected a name that ends in .html")
        }
        try OutputFile.requireWritable([
            ("--out", out.map { [$0] } ?? []), ("--json", output.json.map { [$0] } ?? []),
        ])
    }

    func run() throws {
        let workers = workers ?? ProcessInfo.processInfo.activeProcessorCount
        let bar = ProgressBar()
        let start = ContinuousClock.now
        let inspection = try Inspection(
            data: data, labels: labels, validationFraction: valFraction, workers: workers
        ) { done, total in
            let rate = Double(done) / max((ContinuousClock.now - start).seconds, 1e-3)
            let left = ProgressBar.duration(Double(total - done) / max(rate, 1e-3))
            bar.draw(
                done: done, of: total, "\(done) of \(total) photographs, \(fixed(rate, 0))/s, \(left) left")
        }
        bar.clear()
        var sheets: [[UInt8]?] = []
        if out != nil {
            sheets = try inspection.contactSheets(workers: workers) { done, total in
                bar.draw(done: done, of: total, "\(done) of \(total) contact sheets")
            }
            bar.clear()
        }
        let page = InspectionPage(
            inspection, title: "Photographs in \(data)", sheets: sheets, refusals: refusals(inspection))
        // Files come first: a closed pipe must not lose the result.
        try output.write(page.json)
        if let out { try AtomicFile.write(out, Array(try page.html().utf8)) }
        for line in page.lines { print(line) }
        for error in inspection.unreadable.prefix(5) { print("  \(error)") }
        let written = [out, output.json].compactMap { $0 }
        if out == nil, let line = inspection.unused.listing(data: data, labels: labels) { print(line) }
        if !written.isEmpty { print("written: " + written.joined(separator: ", ")) }
    }

    /// Why `train` would stop, in its words.
    private func refusals(_ inspection: Inspection) -> [String] {
        let bad = BadFiles.excess(
            inspection.unreadable.count, of: inspection.count, limit: TrainingOptions().maximumBad)
        let errors: [(any Error)?] = [inspection.refusal, bad]
        return errors.compactMap { $0 }.map { Remedy.message(for: $0, command: TrainCommand.self) }
    }
}
