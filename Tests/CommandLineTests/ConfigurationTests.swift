import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct ConfigurationTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    @Test(arguments: [
        (
            "learning_rate: 0.1\n",
            ":1:1: unknown option 'learning_rate'; did you mean 'learning-rate'? known: data, labels, model"
        ),
        (
            "batch: 8\n\nsomething-else-entirely: 1\n",
            ":3:1: unknown option 'something-else-entirely'; known: data"
        ),
        ("batch: 8\nepochs: many\n", ":2:9: epochs is 'many'; expected a whole number"),
        ("batch: 8.5\n", ":1:8: batch is '8.5'; expected a whole number"),
        ("batch: \"8\"\n", ":1:8: batch is '8'; it is in quotation marks"),
        ("momentum: true\n", ":1:11: momentum is 'true'; expected a number"),
        ("learning-rate: .inf\n", ":1:16: learning-rate is '.inf'; expected a number"),
        ("# first\nbatch: 0\n", ":2:8: batch is '0'; expected 1 to 65536 images"),
        (
            "schedule: linear\n",
            ":1:11: schedule is 'linear'; expected one of constant, step, plateau, cosine"
        ),
        ("model: 8,X\n", ":1:8: model is '8,X'; unknown token 'X'"),
        ("device: fast\n", ":1:9: device is 'fast'; expected auto, cpu, gpu, opencl:N"),
        ("epochs:\n", ":1:8: epochs has no value"),
        ("batch: [8, 16]\n", ":1:8: batch is a list or a mapping"),
        ("? [batch]\n: 8\n", ":1:3: a list or a mapping where an option's name was expected"),
        ("batch: 8\nepochs: 1\nbatch: 16\n", ":1:1: 'batch' is set twice"),
        ("image-size: 32\nshort-side: 16\n", ":2:13: short-side 16: expected the image size (32) or more"),
        ("image-size: 4\nmodel: M,M,M\n", ":2:8: model M,M,M: its poolings need images of 8 pixels"),
        ("- batch\n", ":1:1: not a flat list"), ("batch\n", ":1:1: not a flat list"),
        ("", ": the file is empty"),
        ("# nothing\n", ": the file is empty"),
        ("batch: 8\nepochs: {\n", ":3:1: not YAML"),
        ("batch:\n\t8\n", ":2:1: not YAML"),
        ("batch: 8\n---\nbatch: 8\n", ":2:1: not YAML"),
        ("batch: *size\n", ":1:8: not YAML"),
        ("data: " + String(repeating: "[", count: 20_000), ":1:39: nested values"),
        (String(repeating: "#\n", count: 40_000), ": more than 65536 bytes"),
    ]) func mistake(text: String, message: String) throws {
        let file = try place.file("states/options.yaml", text)
        try place.expect(run("train --config \(file) --out never", 2, file + message))
    }

    @Test func unreadableFile() throws {
        for (name, message) in [("nowhere.yaml", "no such file"), ("set", "this is a folder")] {
            try place.expect(run("--config \(name)", 2, "\(name): \(message); give --config a YAML file"))
        }
        let file = try place.file("states/bytes.yaml", [0x62, 0xFF, 0xFE])
        try place.expect(run("--config \(file)", 2, "not UTF-8"))
    }

    @Test func flagsWin() throws {
        // A flag overrides the file's mistake.
        let file = try place.file(
            "states/flags.yaml",
            "image-size: 32\nshort-side: 16\nmodel: 8,M\ndata: set\nbatch: 8\nepochs: 2\n")
        try place.succeed("--config \(file) --image-size 16 --out flags --epochs 1")
        let written = try place.text("flags/config.yaml")
        for line in [
            "data: \"set\"", "model: \"8,M\"", "image-size: 16",
            "short-side: 16", "batch: 8", "epochs: 1", "momentum: 0.9",
        ] {
            #expect(written.split(separator: "\n").contains(Substring(line)), "\(line) is not in \(written)")
        }
        #expect(!written.contains("\nout:"))
    }

    /// A run can be repeated from its configuration.
    @Test func configurationFedBack() throws {
        try place.succeed("train --config run/config.yaml --out again")
        #expect(try place.bytes("run/config.yaml") == place.bytes("again/config.yaml"))
        try place.expectSameModel("run", "again")
    }

    @Test func everyOptionIsAFlag() throws {
        let help = try place.succeed("train --help").output
        for heading in ["DATA:", "MODEL:", "OPTIMISATION:", "AUGMENTATION:", "RUN:", "RANKS:", "DEVICE:"] {
            #expect(help.contains("\n\(heading)\n"), "\(heading) is not in the help")
        }
        let short = try place.succeed("train -h")
        #expect(short.output.split(separator: "\n").count < 25, "\(short)")
        let options = try place.text("run/config.yaml").split(separator: "\n")
        #expect(options.count >= 19)
        for option in options.map({ $0.prefix { $0 != ":" } }) + ["out", "config"] {
            let isFlag = option == "balanced-sampling"
            let form = isFlag ? "--\(option)/--no-\(option)" : "--\(option) <"
            #expect(help.contains(form), "\(form) is not in the help")
            #expect(short.output.contains("--\(option)"), "--\(option) is not in the short help")
        }
    }
}
