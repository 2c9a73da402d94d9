import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct ConfigurationTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    @Test(arguments: [
        (
            "unknown key", "learning_rate: 0.1\n",
            ":1:1: unknown option 'learning_rate'; did you mean 'learning-rate'? known: data, model"
        ),
        (
            "unlike any key", "batch: 8\n\nsomething-else-entirely: 1\n",
            ":3:1: unknown option 'something-else-entirely'; known: data"
        ), ("wrong type", "batch: 8\nepochs: many\n", ":2:9: epochs is 'many'; expected a whole number"),
        ("fraction", "batch: 8.5\n", ":1:8: batch is '8.5'; expected a whole number"),
        ("number in quotes", "batch: \"8\"\n", ":1:8: batch is '8'; it is in quotation marks"),
        ("truth for a number", "momentum: true\n", ":1:11: momentum is 'true'; expected a number"),
        ("not finite", "learning-rate: .inf\n", ":1:16: learning-rate is '.inf'; expected a number"),
        ("out of range", "# first\nbatch: 0\n", ":2:8: batch is '0'; expected 1 to 65536 images"),
        (
            "unknown choice", "schedule: linear\n",
            ":1:11: schedule is 'linear'; expected one of constant, step, plateau, cosine"
        ), ("bad specification", "model: 8,X\n", ":1:8: model is '8,X'; unknown token 'X'"),
        ("bad device", "device: fast\n", ":1:9: device is 'fast'; expected auto, cpu, gpu, opencl:N"),
        ("no value", "batch:\n", ":1:7: batch has no value"),
        ("list for a value", "batch: [8, 16]\n", ":1:8: batch is a list or a mapping"),
        (
            "list for a key", "? [batch]\n: 8\n",
            ":1:3: a list or a mapping where an option's name was expected"
        ), ("twice", "batch: 8\nepochs: 1\nbatch: 16\n", ":1:1: 'batch' stands there twice"),
        (
            "conflict", "image-size: 32\nshort-side: 16\n",
            ":2:13: short-side 16: expected the image size (32) or more"
        ),
        (
            "too many poolings", "image-size: 4\nmodel: M,M,M\n",
            ":2:8: model M,M,M: its poolings need images of 8 pixels"
        ), ("a list", "- batch\n", ":1:1: not a list of options"),
        ("one word", "batch\n", ":1:1: not a list of options"), ("empty", "", ": the file is empty"),
        ("comments alone", "# nothing\n", ": the file is empty"),
        ("not YAML", "batch: 8\nepochs: {\n", ":3:1: not YAML"), ("a tab", "batch:\n\t8\n", ":2:1: not YAML"),
        ("two documents", "batch: 8\n---\nbatch: 8\n", ":2:1: not YAML"),
        ("unknown alias", "batch: *size\n", ":1:8: not YAML"),
        ("deep nesting", "data: " + String(repeating: "[", count: 20_000), ":1:39: nested values"),
        ("too long", String(repeating: "#\n", count: 40_000), ": more than 65536 bytes"),
    ]) func mistake(name: String, text: String, message: String) throws {
        let file = try place.file("states/options.yaml", text)
        let result = try place.run(["train", "--config", file, "--out", "never"])
        #expect(result.status == 2, "\(result.errors)")
        #expect(result.errors.contains(file + message), "\(result.errors)")
        #expect(!place.exists("never"))
    }

    @Test func unreadableFile() throws {
        for (name, message) in [("nowhere.yaml", "no such file"), ("set", "this is a folder")] {
            let result = try place.run(["--config", name])
            #expect(result.status == 2)
            #expect(result.errors.contains("--config \(name): \(message)"), "\(result.errors)")
        }
        let file = try place.file("states/bytes.yaml", [0x62, 0xFF, 0xFE])
        let result = try place.run(["--config", file])
        #expect(result.status == 2)
        #expect(result.errors.contains("not UTF-8"), "\(result.errors)")
    }

    @Test func flagsWin() throws {
        // A flag overrides the file's mistake.
        let file = try place.file(
            "states/flags.yaml",
            "image-size: 32\nshort-side: 16\nmodel: 8,M\ndata: set\nbatch: 8\nepochs: 2\n")
        let result = try place.run([
            "--config", file, "--image-size", "16", "--out", "flags", "--epochs", "1",
        ])
        #expect(result.status == 0, "\(result.errors)")
        let written = String(decoding: try place.bytes("flags/config.yaml"), as: UTF8.self)
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
        let result = try place.run(["train", "--config", "run/config.yaml", "--out", "again"])
        #expect(result.status == 0, "\(result.errors)")
        #expect(try place.bytes("run/config.yaml") == place.bytes("again/config.yaml"))
        try place.expectSameModel("run", "again")
    }

    @Test func everyOptionIsAFlag() throws {
        let help = try place.run(["train", "--help"]).output
        for heading in ["DATA:", "MODEL:", "OPTIMISATION:", "AUGMENTATION:", "RUN:", "RANKS:", "DEVICE:"] {
            #expect(help.contains("\n\(heading)\n"), "\(heading) is not in the help")
        }
        let short = try place.run(["train", "-h"])
        #expect(short.status == 0 && short.output.split(separator: "\n").count < 25, "\(short)")
        let options = String(decoding: try place.bytes("run/config.yaml"), as: UTF8.self).split(
            separator: "\n")
        #expect(options.count >= 19)
        for option in options.map({ $0.prefix { $0 != ":" } }) + ["out", "config"] {
            #expect(help.contains("--\(option) <\(option)>"), "--\(option) is not in the help")
            #expect(short.output.contains("--\(option)"), "--\(option) is not in the short help")
        }
    }
}
