import Foundation
import TestSupport
import Testing

@Suite struct SimulateTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    @Test func printsTablesAndWritesFiles() throws {
        let files = ["steps.svg", "speed.svg", "machine.yaml", "simulate.json"].map { "states/\($0)" }
        try place.makeFolder("states")
        let result = try place.succeed(
            "simulate --devices 8 --images 32 --batch 64 --steps-svg \(files[0]) --speed-up-svg \(files[1]) "
                + "--save-machine \(files[2]) --json \(files[3])")
        #expect(result.output.contains("on minwa; all times are simulated"), "\(result)")
        for name in ["synchronous", "lazy, node first", "hybrid", "efficiency"] {
            #expect(result.output.contains(name), "\(result)")
        }
        for file in files.prefix(2) { #expect(try place.text(file).hasPrefix("<svg ")) }
        let json = try JSONSerialization.jsonObject(with: Data(place.bytes(files[3]))) as? [String: Any]
        let steps = try #require(json?["steps"] as? [[String: Any]])
        #expect(steps.compactMap { $0["devices"] as? Int } == [1, 2, 4, 8])
        for strategy in [
            "synchronous", "lazy", "hybrid", "lazy_node_first",
            "hybrid_node_first", "memory", "hybrid_memory",
        ] {
            #expect(steps.allSatisfy { ($0[strategy] as? Double ?? 0) > 0 }, "\(strategy)")
        }
        // The file that was written is that machine.
        let again = try place.succeed(
            "simulate --devices 8 --images 32 --batch 64 --machine \(files[2])")
        #expect(
            again.output.replacing(files[2], with: "minwa") == result.output, "\(again.output)")
    }

    /// `train` would refuse to split such a network.
    @Test func withoutALayerToSplitThereIsNoHybrid() throws {
        let result = try place.succeed(
            "simulate --model 16,M --image-size 32 --devices 8 --steps-svg linear.svg --json linear.json")
        #expect(result.output.contains("lazy, node first"), "\(result)")
        for text in [result.output, try place.text("linear.svg")] {
            #expect(!text.contains("hybrid"), "\(text)")
        }
        let json = try JSONSerialization.jsonObject(with: Data(place.bytes("linear.json"))) as? [String: Any]
        let steps = try #require(json?["steps"] as? [[String: Any]])
        #expect(steps.count == 4 && steps.allSatisfy { $0["hybrid"] == nil && $0["lazy"] != nil })
        #expect(steps.allSatisfy { $0["hybrid_memory"] is NSNull }, "\(steps)")
    }

    @Test func memoryThatDoesNotSufficeIsNamed() throws {
        let result = try place.succeed("simulate --devices 2 --images 512")
        #expect(result.output.contains("data parallelism does not fit"), "\(result)")
        #expect(result.output.contains("hybrid parallelism does not fit"), "\(result)")
        #expect(result.output.contains("minwa has 12.00 GB"), "\(result)")
    }

    @Test(arguments: [
        ("--machine fast", "--machine fast: no such file; expected minwa, h100x8, pc"),
        ("--machine set", "set: this is a folder; give --machine minwa, h100x8, pc"),
        ("--devices 1025", "--devices 1025: expected 1 to 1024 devices"),
        ("--batch 64,x", "--batch 64,x: expected sizes"), ("--model 8,X", "--model 8,X: unknown token 'X'"),
        ("--steps-svg a.svg --speed-up-svg a.svg", "would overwrite a.svg"),
    ]) func mistakesAreNamed(options: String, message: String) throws {
        try place.expect(run("simulate \(options)", 2, message))
    }
}
