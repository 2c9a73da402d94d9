import Foundation
import TestSupport
import Testing

/// Gives commands checkpoints that are damaged or foreign.
@Suite(.serialized) struct CheckpointTests {
    let place: Workplace
    let model: [UInt8]

    init() throws {
        place = try Workplace.shared.get()
        model = try place.bytes("run/checkpoints/last/model.safetensors")
    }

    private var headerLength: Int { (0..<8).reduce(0) { $0 | Int(model[$1]) << (8 * $1) } }
    private var header: String { String(decoding: model[8..<8 + headerLength], as: UTF8.self) }

    /// Returns the checkpoint with a changed header.
    private func changed(_ replacements: [(String, String)]) throws -> [UInt8] {
        var text = header
        for (old, new) in replacements {
            try #require(text.contains(old), "the header has no \(old): \(text)")
            text = text.replacingOccurrences(of: old, with: new)
        }
        let bytes = Array(text.utf8)
        return (0..<8).map { UInt8(truncatingIfNeeded: bytes.count >> (8 * $0)) } + bytes
            + model[(8 + headerLength)...]
    }

    private func expect(_ content: [UInt8], _ message: [String]) throws {
        let file = try place.file("states/damaged.safetensors", content)
        let ring = try place.photograph("ring")
        for arguments in [
            ["predict", "--checkpoint", file, ring], ["evaluate", "--checkpoint", file, "--data", "set"],
        ] { try place.expect(Mistake(arguments: arguments, status: 1, message: [file] + message)) }
    }

    /// Expects these messages after a replacement in the header.
    private func expect(_ old: String, to new: String, _ message: String...) throws {
        try expect(changed([(old, new)]), message)
    }

    @Test func truncated() throws {
        try expect(Array(model.dropLast(100)), ["at most the", "cut short"])
        try expect(Array(model.prefix(8 + headerLength / 2)), ["the header claims \(headerLength) bytes"])
        try expect(Array(model.prefix(5)), ["the file has 5 bytes"])
        try expect([], ["the file has 0 bytes"])
    }

    @Test func headerPastTheEnd() throws {
        var content = model
        content[3] = 5
        try expect(
            content,
            ["the header claims \(headerLength + 5 << 24) bytes", "expected at most the \(model.count - 8)"])
        content[7] = 0x7F
        try expect(content, ["the header claims", "at most 100000000"])
    }

    @Test func offsets() throws {
        let data = model.count - 8 - headerLength
        // Tensors lie in the order of their names: classifier.0.bias has 16 floats, classifier.0.weight 16 ·
        // 16 · 8 · 8.
        try expect(
            #""data_offsets":[0,64]"#, to: #""data_offsets":[0,128]"#, "has 128 bytes",
            "64 for the shape [16]")
        try expect(
            #""data_offsets":[64,65600]"#, to: #""data_offsets":[0,65536]"#,
            "classifier.0.weight overlaps the tensor before it")
        try expect(
            #""data_offsets":[0,64]"#, to: #""data_offsets":[\#(data),\#(data + 64)]"#,
            "ends at byte \(data + 64)")
        try expect(#""data_offsets":[0,64]"#, to: #""data_offsets":[64,0]"#, "data_offsets that are no range")
        try expect(
            #""data_offsets":[0,64]"#, to: #""data_offsets":[-64,0]"#, "data_offsets that are no range")
    }

    @Test func wrongShape() throws {
        try expect(
            #""shape":[16,3,3,3]"#, to: #""shape":[3,16,3,3]"#,
            "'features.0.weight' of shape [3, 16, 3, 3]", "[16, 3, 3, 3]")
        try expect(
            #""shape":[16,3,3,3]"#, to: #""shape":[16,3,3,9223372036854775807]"#,
            "features.0.weight has the shape")
        try expect(#""classes":"[\""#, to: #""classes":"[\"one more\",\""#, "of shape [3", "[4")
    }

    @Test func foreignArchitecture() throws {
        try expect("16,M,F16", to: "resnet50", "the metadata's 'model' is 'resnet50'", "unknown token")
        try expect(
            "16,M,F16", to: "16,M,16,M,F16", "no tensor 'features.3.weight'", "every layer of '16,M,16,M,F16'"
        )
        try expect(
            changed([(#""model""#, #""modal""#), ("features.", "conv.")]),
            ["neither metadata of this program nor the names of torchvision"])
    }

    @Test func metadata() throws {
        try expect(#""image_size":"16""#, to: #""image_size":"0""#, "'image_size' is '0'", "1 to 16384")
        try expect(#""image_size":"16""#, to: #""image_size":"1""#, "'image_size' is '1'", "2 or more")
        try expect(#""image_size""#, to: #""image_side""#, "the metadata has no 'image_size'")
        try expect(#""mean":"["#, to: #""mean":"[1,"#, "the metadata's 'mean'", "three numbers")
        try expect(#""seed":"1""#, to: #""seed":"-1""#, "the metadata's 'seed' is '-1'")
    }

    @Test func notANumber() throws {
        var content = model
        // The first bias of classifier.0.
        content.replaceSubrange(8 + headerLength..<12 + headerLength, with: [0, 0, 0xC0, 0x7F])
        try expect(content, ["'classifier.0.bias' holds nan at place 0", "diverged"])
    }

    @Test func notACheckpoint() throws {
        for (path, message) in [
            ("nowhere", "nowhere: no such file or folder"), ("set", "set: no checkpoint in this folder"),
            ("/dev/null", "not a regular file"),
        ] { try place.expect(run("evaluate --checkpoint \(path) --data set", 1, message)) }
    }
}
