import Foundation
import TestSupport
import Testing

/// Trains from archives as from class folders.
@Suite(.serialized) struct ArchiveTrainingTests {
    private let place: Workplace

    init() throws { place = try Workplace() }

    /// Packs the set into archives in WebDataset's form, in another order than that of the folders.
    private func pack(_ archives: Int) throws {
        let classes = try place.names("set/train")
        for part in ["train", "val"] {
            let names = try classes.flatMap { name in
                try place.names("set/\(part)/\(name)").map { (name, $0) }
            }.reversed()
            for archive in 0..<archives {
                var tar = Tar(.pax)
                for (number, (className, name)) in names.enumerated() where number % archives == archive {
                    let key = className + "/" + name.dropLast(4)
                    tar.add(key + ".cls", "\(classes.firstIndex(of: className) ?? 0)")
                    tar.add(key + ".jpg", try place.bytes("set/\(part)/\(className)/\(name)"))
                }
                try place.write(tar.finished(), "tars/\(part)-\(archive).tar")
            }
        }
        try place.write(classes.joined(separator: "\n"), "tars/classes.txt")
    }

    /// Folders and archives give the same weights on any number of ranks and threads, with and without the
    /// cache.
    @Test(.timeLimit(.minutes(5))) func sameWeightsAsFromFolders() throws {
        try pack(3)
        let options = MPITests.options
        for (run, ranks, line) in [
            ("folders", 1, "--data set"), ("archives", 1, "--data tars --workers 1"),
            ("uncached", 4, "--data tars --workers 4 --cache off"),
            ("cached", 4, "--data tars --workers 1"),
        ] {
            let result = try place.mpirun(ranks, "\(options) --out \(run) \(line)")
            try #require(result.status == 0, "\(result.errors)")
            try place.expectSameModel(run, "folders", "\(run)")
        }
        // The index is beside the archives; where that is not possible it is in the cache folder.
        #expect(place.exists("tars/photographs.index"))
        // The weights belong to these photographs, so measuring finds what training held out.
        let folders = try place.succeed("evaluate --checkpoint folders --data tars --device cpu")
        #expect(folders.output.contains("the validation part"), "\(folders.output)")
    }

    /// Two epochs from folders and from archives end with the same weights, and four ranks cache what does
    /// not fit into the memory of one.
    @Test(.timeLimit(.minutes(5))) func cacheOfSeveralRanks() throws {
        try pack(2)
        // A photograph takes about 1 kB, so one rank caches a third of the 48, and four cache all of theirs.
        for (run, ranks, line, share) in [
            ("none", 1, "--data set --workers 4 --cache off", nil),
            ("one", 1, "--data set --workers 1 --cache 16K", 1.0..<30.0),
            ("four", 4, "--data tars --workers 4 --cache 16K", 48.0..<49.0),
        ] as [(String, Int, String, Range<Double>?)] {
            let result = try place.mpirun(ranks, "\(MPITests.options) --out cache-\(run) \(line)")
            try #require(result.status == 0, "\(result.errors)")
            try place.expectSameModel("cache-\(run)", "cache-none", "\(run)")
            let found = result.output.firstMatch(of: /cache: (\d+) of 48 training images/).map {
                Double($0.1) ?? 0
            }
            #expect(found.map { share?.contains($0) == true } ?? (share == nil), "\(result.output)")
            if ranks == 4 { #expect(result.output.contains("(100 %) stay on the devices of 4 ranks")) }
        }
    }

    /// Training reads what `prepare` has written, in which small photographs keep their bytes.
    @Test(.timeLimit(.minutes(5))) func prepared() throws {
        let prepared = try place.succeed("prepare set --out prepared --short-side 32 --workers 2 --verify")
        #expect(prepared.output.contains("60 photographs in 2 archives"), "\(prepared.output)")
        #expect(prepared.output.contains("are as they were written"))
        try place.train("--out folders")
        try place.train("--data prepared/manifest.json --out run")
        try place.expectSameModel("run", "folders")
        let again = try place.succeed("prepare set --out prepared --short-side 32")
        #expect(again.output.contains("60 photographs were prepared before"), "\(again.output)")
    }

    /// A run of `prepare` that is killed and started again ends with the same bytes.
    @Test(.timeLimit(.minutes(5))) func killsAtRandomMoments() throws {
        let tool = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "../../tools/check_prepare"
        ).path
        let seed = "\(getpid() % 30_000)"
        let result = try Command.run(
            [
                tool, "--kills", "3", "--pictures", "500", "--seed", seed, "--trainer",
                Command.path("trainer"),
            ], in: place.path)
        #expect(result.status == 0, "\(result)")
        #expect(result.output.contains("0 differ"), "\(result)")
    }

    /// What is wrong with archives is said with what to do about it.
    @Test func mistakes() throws {
        try pack(2)
        try place.write(Array(try place.bytes("tars/train-1.tar").prefix(5000)), "tars/train-1.tar")
        for mistake in [
            train("--data tars", 1, "tars/train-1.tar: truncated", "; copy or download it again"),
            run("prepare --out x", 2, "trainer prepare SOURCE --out DIR"),
            run("prepare set --out set", 1, "set: is not empty", "give another --out"),
            run("prepare none --out x", 1, "none: no such folder", "check the path"),
            run("prepare set --out x --short-side 8,8", 2, "different numbers"),
            run("prepare set --out x --quality 0", 2, "--quality 0: expected 1 to 100"),
            run("prepare --out tars --verify", 1, "tars/manifest.json: cannot be read"),
        ] { try place.expect(mistake) }
    }
}
