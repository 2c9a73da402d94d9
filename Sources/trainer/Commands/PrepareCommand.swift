import ArgumentParser
import Basics
import Foundation
import Photographs

struct PrepareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prepare",
        abstract: "Rewrite photographs as tar archives for training, resized and in shuffled order.",
        discussion: """
            SOURCE is anything that --data of `train` reads: class folders, a folder of tar archives, \
            ImageNet's archives or Kaggle's layout. A run that was interrupted continues when it is started \
            again, and writes the same bytes.
            """)

    @Argument(help: "Folder, archive or manifest with the photographs. Not needed with --verify.")
    var source: String?

    @Option(help: "Folder to write. It must not exist, be empty, or be from an interrupted run.")
    var out: String

    @Option(help: "List of the photographs' files and classes (CSV), if they are not in class folders.")
    var labels: String?

    @Option(
        help: """
            Shorter side in pixels, without enlarging; several (256,512) write a folder each.
            """,
        transform: { text in
            let sides = text.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
            guard !sides.contains(nil) else {
                throw ValidationError("expected a number of pixels, or several with commas between them")
            }
            return sides.compactMap { $0 }
        }) var shortSide = [Preparation.Options.usualShortSide]

    @Option(
        help: """
            Quality of the JPEG files, \(JPEGQuality.legal.lowerBound) to \(JPEGQuality.legal.upperBound).
            """) var quality = JPEGQuality.usual
    @Option(
        help: """
            Size at which an archive is closed. \
            Default: \(MemorySize.option(atMost: Preparation.Options.usualArchiveBytes) ?? "").
            """, transform: memorySize) var archiveSize: MemorySize?

    @Option(help: "Threads that read, resize and encode. Default: one for each core.") var workers: Int?
    @Flag(help: "Read the archives again at the end, and compare them with their checksums.")
    var verify = false

    func validate() throws {
        guard source != nil || verify else {
            throw ValidationError("expected the photographs to prepare: trainer prepare SOURCE --out DIR")
        }
        guard source != nil || labels == nil else {
            throw ValidationError("--labels \(labels ?? ""): expected the photographs that it is for")
        }
        for side in shortSide { try require("--short-side", side, in: 1...ShortSide.largest, "pixels") }
        guard Set(shortSide).count == shortSide.count else {
            throw ValidationError("--short-side: expected different numbers")
        }
        try require("--quality", quality, in: JPEGQuality.legal, "")
        try requireAsTrain("workers", workers)
    }

    func run() throws {
        let workers = workers ?? ProcessInfo.processInfo.activeProcessorCount
        var folders = verifiedFolders
        if let source {
            var options = Preparation.Options(
                source: source, labels: labels, out: out,
                shortSides: shortSide, quality: quality, workers: workers)
            options.archiveBytes = archiveSize?.bytes ?? options.archiveBytes
            let preparation = try Preparation(options)
            for line in preparation.remarks { print(line) }
            if let line = preparation.unused.listing(data: source, labels: labels) { print(line) }
            let bar = ProgressBar()
            let start = ContinuousClock.now
            let summary = try preparation.run { progress in
                let seconds = (ContinuousClock.now - start).seconds
                let rate = Double(progress.done - progress.resumed) / max(seconds, 1e-3)
                let left = ProgressBar.duration(Double(progress.total - progress.done) / max(rate, 1e-3))
                bar.draw(
                    done: progress.done, of: progress.total,
                    "\(progress.done) of \(progress.total) photographs, \(fixed(rate, 0))/s, \(left) left"
                        + (progress.badFiles > 0 ? ", \(progress.badFiles) unusable" : ""))
            }
            bar.clear()
            report(summary, seconds: (ContinuousClock.now - start).seconds)
            folders = summary.folders
        }
        guard verify else { return }
        for folder in folders {
            let found = try Preparation.verify(folder, workers: workers)
            print(
                "\(folder): \(found.archives) archives with \(found.photographs) photographs are as they "
                    + "were written")
        }
    }

    /// The folders that an earlier run has written.
    private var verifiedFolders: [String] {
        let isThere = { FileManager.default.fileExists(atPath: $0 + "/manifest.json") }
        let folders = shortSide.map { "\(out)/\($0)" }.filter(isThere)
        return folders.isEmpty || isThere(out) ? [out] : folders
    }

    private func report(_ summary: Preparation.Summary, seconds: Double) {
        let count = summary.photographs - min(summary.resumed, summary.photographs)
        if summary.resumed > 0 { print("\(summary.resumed) photographs were prepared before") }
        let rate = fixed(Double(count) / max(seconds, 1e-3), 0)
        print(
            "\(summary.photographs) photographs in \(summary.archives) archives, "
                + "\(MemorySize.text(summary.byteCount)), in \(summary.folders.joined(separator: ", ")): "
                + "\(ProgressBar.duration(seconds)), \(rate) photographs/s; "
                + "the threads computed \(fixed(100 * summary.busy, 0)) % of the time")
        guard !summary.badFiles.isEmpty else { return }
        print("\(summary.badFiles.count) photographs cannot be used; they are listed in bad-files.txt:")
        for line in summary.badFiles.prefix(5) { print("  " + line) }
    }
}
