@testable import Basics
import Foundation
import TestSupport
import Testing

@testable import Evaluation

@Suite struct FusionTests {
    private let place: TemporaryFolder
    private var folder: String { place.path }

    init() throws { place = try TemporaryFolder() }

    /// The twenty best answers of two models to one image, from figure 7 of the paper.
    private static let lowResolution: [(String, Float)] = [
        ("ant", 0.2287), ("damselfly", 0.0997), ("nematode", 0.057),
        ("chainlink fence", 0.0546), ("long-horned beetle", 0.0522), ("walking stick", 0.0307),
        ("dragonfly", 0.0287), ("tiger beetle", 0.0267), ("doormat", 0.0225),
        ("flute", 0.0198), ("grey whale", 0.0198), ("mantis", 0.0178), ("lacewing", 0.0171),
        ("radiator", 0.0161), ("scabbard", 0.0161), ("slide rule", 0.0157), ("fly", 0.0148),
        ("leafhopper", 0.0129), ("cucumber", 0.0101), ("velvet", 0.0094),
    ]
    private static let highResolution: [(String, Float)] = [
        ("lacewing", 0.103), ("dragonfly", 0.074), ("damselfly", 0.074), ("walking stick", 0.063),
        ("long-horned beetle", 0.039), ("leafhopper", 0.027), ("nail", 0.025), ("grasshopper", 0.023),
        ("ant", 0.019), ("mantis", 0.015), ("fly", 0.015), ("hammer", 0.013), ("American chameleon", 0.012),
        ("gar", 0.012), ("chainlink fence", 0.011), ("padlock", 0.011), ("tree frog", 0.011),
        ("cicada", 0.011), ("screwdriver", 0.01), ("harvestman", 0.01),
    ]

    /// Returns the posteriors of one photograph; `views` has the model of each list.
    private func table(_ lists: [[(String, Float)]], views: [Int]? = nil) throws -> Posteriors {
        let names = lists.map { $0.map(\.0) }
        let classes = Posteriors.union(names)
        let models = views ?? Array(lists.indices)
        return try Posteriors(
            models: Set(models).sorted().map { "model \($0)" }, classes: classes, files: ["photograph"],
            labels: [0], sources: models.map { .init(model: $0, view: View(shortSide: 256)) },
            values: zip(lists, names).map { Posteriors.ClassPlaces(of: $1, in: classes).spread($0.map(\.1)) })
    }

    @Test func figure7() throws {
        let posteriors = try table([Self.lowResolution, Self.highResolution])
        let mean = posteriors.mean(posteriors.mixture([0, 1]), of: 0)
        let order = Metrics.order(mean).map { posteriors.classes[$0] }
        #expect(Array(order.prefix(5)) == ["ant", "damselfly", "lacewing", "dragonfly", "walking stick"])
        let dragonfly = try #require(posteriors.classes.firstIndex(of: "dragonfly"))
        // (0.0287 + 0.074) / 2; half a unit of the printed digits' last place is 3e-5.
        #expect(abs(mean[dragonfly] - 0.0514) < 3e-5 + 5e-5)
        #expect(Metrics.order(posteriors.values(of: 0, source: 0)).firstIndex(of: dragonfly) == 6)
    }

    @Test func weightsAndViews() throws {
        // The first and third are views of one model: its two share the weight of one.
        let posteriors = try table(
            [[("a", 1), ("b", 0)], [("b", 1), ("a", 0)], [("a", 0.5), ("b", 0.5)]], views: [0, 1, 0])
        func mean(_ sources: [Int], _ weights: [Double]? = nil) -> [Float] {
            posteriors.mean(posteriors.mixture(sources, weights: weights), of: 0)
        }
        #expect(mean([0, 1, 2]) == [0.375, 0.625])
        #expect(mean([0, 1, 2], [3, 1]) == [0.5625, 0.4375])
        #expect(mean([1], [3, 1]) == [0, 1])
        // Their sum is more than a number can be.
        #expect(mean([0, 1], [1.5e308, 1.5e308]) == [0.5, 0.5])
    }

    @Test func classesAreMatchedByName() {
        #expect(Posteriors.union([["b", "a"], ["c", "a"]]) == ["b", "a", "c"])
        #expect(Posteriors.ClassPlaces(of: ["a", "c"], in: ["c", "b", "a"]).spread([1, 2]) == [2, 0, 1])
    }

    // MARK: - Files

    private func sample(
        _ classes: [String] = ["a", "b"], files: [String] = ["1.jpg", "2.jpg"], label: Int = 1, other: Int = 0
    ) throws -> Posteriors {
        try Posteriors(
            models: ["run"], classes: classes, files: files, labels: [other, label],
            sources: [
                .init(model: 0, view: View(shortSide: 32), seconds: 0.5),
                .init(model: 0, view: View(shortSide: 36, isDense: true, isMirrored: true), seconds: 1.25),
            ], values: [[1, 0, 0.25, 0.75], [0.5, 0.5, 0, 1]], unknownClasses: [[classes[1]]],
            leftOut: ["bad.jpg: empty"])
    }

    @Test func keptPosteriorsComeBack() throws {
        try sample().write(folder + "/p.npy")
        let (kept, original) = (try Posteriors.read(folder + "/p.npy"), try sample())
        #expect(kept.models == original.models && kept.classes == original.classes)
        #expect(kept.files == original.files)
        #expect(kept.labels == original.labels && kept.sources == original.sources)
        #expect(kept.unknownClasses == [["b"]] && kept.leftOut == ["bad.jpg: empty"])
        #expect(kept.sourceMajorValues == [[1, 0, 0.25, 0.75], [0.5, 0.5, 0, 1]])
        #expect(try NPYFile(folder + "/p.npy").shape == [2, 2, 2])
        // What others read is view by view.
        #expect(try NPYFile(folder + "/p.npy").values(0..<8) == [1, 0, 0.25, 0.75, 0.5, 0.5, 0, 1])
        try place.remove("p.npy.json")
        let error = #expect(throws: FileError.self) { try Posteriors.read(folder + "/p.npy") }
        #expect(error?.description.contains("p.npy.json: no such file") == true)
        for (text, found) in [
            ("{", "not valid JSON"), ("{}", "no list 'models'"),
            (#"{"models":[],"classes":["a"],"files":[],"labels":[],"sources":[]}"#, "0 sources"),
            (
                #"{"models":["m"],"classes":["a","b"],"files":["1","2"],"labels":[0,7],"sources":[1]}"#,
                "an element that does not belong there"
            ),
            (
                #"{"models":["m"],"classes":["a","b"],"files":["1","2"],"labels":[0,1],"sources":[{"model":0,"short_side":-9223372036854775808,"#
                    + #""dense":false,"mirrored":false}]}"#,
                "'sources' has an element that does not belong there"
            ),
        ] {
            try place.write(text, "p.npy.json")
            let error = #expect(throws: FileError.self) { try Posteriors.read(folder + "/p.npy") }
            #expect(error?.description.contains(found) == true, "\(String(describing: error))")
        }
    }

    @Test func tablesOfTheSamePhotographsJoin() throws {
        let joined = try Posteriors.joined(
            [try sample(other: 1), try sample(["b", "c"], label: 0)], names: ["A", "B"])
        #expect(
            joined.classes == ["a", "b", "c"] && joined.models == ["run", "run"] && joined.labels == [1, 1])
        #expect(joined.sources.map(\.model) == [0, 0, 1, 1])
        // Of a and b the first knows only a; of b and c the second knows only b.
        #expect(joined.unknownClasses == [["b", "c"], ["a", "c"]] && joined.leftOut == ["bad.jpg: empty"])
        #expect(
            joined.sourceMajorValues[0] == [1, 0, 0, 0.25, 0.75, 0]
                && joined.sourceMajorValues[2] == [0, 1, 0, 0, 0.25, 0.75])
    }

    @Test func tablesOfOtherPhotographsDoNot() throws {
        func message(_ other: Posteriors) throws -> String {
            let mine = try sample()
            return #expect(throws: EvaluationError.self) {
                try Posteriors.joined([mine, other], names: ["A", "B"])
            }?.description ?? ""
        }
        #expect(
            try message(sample(files: ["1.jpg", "3.jpg"])).contains(
                "B: other photographs than A: file 2 is 3.jpg and not 2.jpg"))
        #expect(try message(sample(label: 0)).contains("2.jpg is labelled a, in A b"))
    }
}

extension Posteriors {
    /// Stores values given as `[sources][files][classes]`; by default of one view of each of two models.
    init(
        models: [String] = ["A", "B"], classes: [String] = ["x", "y"], files: [String]? = nil,
        labels: [Int], sources: [Source]? = nil, values: [[Float]],
        unknownClasses: [[String]]? = nil, leftOut: [String] = []
    ) throws {
        let files = files ?? labels.indices.map { "\($0)" }
        self.init(
            models: models, classes: classes, files: files, labels: labels,
            sources: sources ?? models.indices.map { .init(model: $0, view: View(shortSide: 8)) },
            unknownClasses: unknownClasses ?? models.map { _ in [] }, leftOut: leftOut,
            values: try SpooledFloats { append in
                for file in files.indices {
                    for own in values {
                        try append(Array(own[file * classes.count..<(file + 1) * classes.count]))
                    }
                }
            })
    }

    /// The values, `[sources][files][classes]`.
    var sourceMajorValues: [[Float]] {
        sources.indices.map { source in files.indices.flatMap { values(of: $0, source: source) } }
    }
}
