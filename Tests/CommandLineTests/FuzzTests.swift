import Compute
import Foundation
import TestSupport
import Testing

/// Runs the fuzzer on each reader for a few seconds, earlier findings first.
@Suite(.serialized) struct FuzzTests {
    let place: Workplace
    private let fixtures =
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().path
        + "/Fixtures/fuzz/"

    init() throws { place = try Workplace.shared.get() }

    private func fuzz(_ arguments: [String]) throws -> Command.Result {
        try Command.run([Command.path("fuzz")] + arguments, in: place.path)
    }

    @Test(arguments: ["safetensors", "configuration", "jpeg", "png", "webp", "posteriors", "archive"])
    func reader(
        _ target: String
    ) throws {
        let corpus =
            FileManager.default.fileExists(atPath: fixtures + target) ? ["--corpus", fixtures + target] : []
        let result = try fuzz(["--target", target, "--seconds", "3"] + corpus)
        #expect(result.status == 0, "\(result.output)\(result.errors)")
        // "jpeg: 5000 inputs, 1200 of them read, the others refused": both must be many, or the mutations are
        // too weak or too strong.
        let numbers = result.output.split { !$0.isNumber }.compactMap { Int($0) }
        try #require(numbers.count == 3, "\(result.output)")
        #expect(
            numbers[0] >= 100 && numbers[1] * 50 > numbers[0] && numbers[1] < numbers[0], "\(result.output)")
    }

    @Test func crashIsSeenSavedAndRepeated() throws {
        let result = try fuzz(["--target", "abort", "--seconds", "30"])
        #expect(result.status == 1, "\(result.errors)")
        let saved = try #require(
            try FileManager.default.contentsOfDirectory(atPath: place.path).first { $0.hasPrefix("abort-1-") }
        )
        #expect(try place.bytes(saved) == [7, 3])
        #expect(
            result.output.contains("fails; repeat: tools/fuzz --target abort --input ./\(saved)"),
            "\(result.output)")
        let again = try fuzz(["--target", "abort", "--input", saved])
        #expect(again.status == 128 + SIGABRT, "\(again.status)")
    }
}
