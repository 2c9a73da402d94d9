import Compute
import Foundation
import TestSupport
import Testing

/// Too little memory is reported before the work begins.
@Suite struct PlanTests {
    let place: Workplace

    init() throws { place = try Workplace.shared.get() }

    @Test func planPrintsATableAndTheLargestBatch() throws {
        let plan = "plan --model deepimage --batch 4 --image-size 224 --classes 1000"
        let result = try place.succeed("\(plan) --device-memory 2G")
        #expect(result.errors.isEmpty, "\(result.errors)")
        for part in [
            "weights", "gradients", "optimiser state", "activations", "workspace", "cached data",
            "of 2.15 GB: too much", "does not fit",
        ] { #expect(result.output.contains(part), "\(part) in \(result.output)") }
        let cached = try place.succeed("\(plan) --device-memory 8G --cache 512M")
        #expect(cached.output.contains("536.9 MB"), "\(cached.output)")
        try place.expect(run("\(plan) --cache much", 2, "--cache"))
        // A net that fits anywhere says which batch would.
        let small = try place.succeed("plan --model mini --batch 1 --device-memory 100M")
        #expect(small.output.contains("largest batch that fits:"), "\(small.output)")
    }

    @Test func trainFailsBeforeItReadsPhotographs() throws {
        try place.expect(
            run(
                "train --data set --model deepimage --image-size 224 --device-memory 1G --out never", 1,
                "does not fit", "gradients of activations"))
    }

    /// Without options both use the same network, image size, batch and device.
    @Test func planEstimatesAStep() throws {
        let plan = "plan --model 16,F16 --batch 4 --image-size 8 --classes 3"
        let slow = try place.succeed("\(plan) --speed 1,1")
        #expect(slow.output.contains("step by the roofline model: "), "\(slow)")
        for wrong in ["1", "1,0", "x,1", "1,2,3", "1,inf"] {
            try place.expect(run("\(plan) --speed \(wrong)", 2, "--speed"))
        }
    }

    /// A network whose hidden layers are most of its weights fits four ranks only if these are split.
    @Test func planComparesTheWaysOfDividingTheWork() throws {
        let plan =
            "plan --ranks 4 --model 64,64,M,128,128,M,256,256,256,M,512,512,512,M,512,512,512,M,F8192,F8192 "
            + "--image-size 224 --classes 1000 --batch 64 --cache off --optimizer sgd --device-memory 4G"
        let result = try place.succeed(
            "\(plan) --parallelism auto --speed 5000,500 --link 5 --json plan.json")
        for part in [
            "per rank", "gathered activations", "gradients sent a step", "chosen: hybrid",
            "data parallelism does not fit the device", "hybrid with --speed", "at best ",
        ] { #expect(result.output.contains(part), "\(part) in \(result.output)") }
        #expect(try place.text("plan.json").contains(#""chosen":"hybrid""#))
        let linear = try place.succeed("plan --ranks 2 --model linear --parallelism auto --json linear.json")
        #expect(linear.output.contains("no hidden fully connected layer"), "\(linear)")
        #expect(linear.output.split(separator: "\n").filter { $0.contains("hybrid") }.count == 1, "\(linear)")
        #expect(try !place.text("linear.json").contains("hybrid"))
        let cramped = try place.succeed("\(plan) --parallelism data --machine pc")
        for part in [
            "chosen: data (as requested)", "auto would choose hybrid: data parallelism does not fit",
        ] {
            #expect(cramped.output.contains(part), "\(cramped)")
        }
        #expect(!cramped.output.contains("minwa"), "\(cramped)")
        try place.expect(run("plan --ranks 4 --micro-batches 2", 2, "--micro-batches 2", "--ranks 4"))
        try place.expect(run("plan --ranks 2 --link 1", 2, "--link"))
        try place.expect(
            run(
                "train --data set --model 16,M --parallelism hybrid --out never", 2,
                "no hidden fully connected layer"))
    }

    /// Without any other option, a plan for ranks has times on every machine, and what `auto` would choose.
    @Test func planAlwaysPredictsAndSaysWhatAutoWouldChoose() throws {
        let plan = "plan --model 16,M,F64 --image-size 64 --cache off --device-memory 4G"
        func json(_ options: String) throws -> [String: Any] {
            let result = try place.succeed("\(plan) \(options) --json ranks.json")
            for part in [
                "predicted ms a step", "weights", "activations sent a step", "rule: auto chooses hybrid if",
                "auto would choose ", "hybrid sends 1 byte of activations for every ", "chosen from 2.0 on",
            ] { #expect(result.output.contains(part), "\(part) in \(result.output)") }
            let json = try JSONSerialization.jsonObject(with: Data(place.bytes("ranks.json")))
            return try #require(json as? [String: Any])
        }
        /// Returns the predicted seconds of data and of hybrid parallelism on a machine.
        func seconds(_ json: [String: Any], _ machine: String) throws -> [Double] {
            let strategies = try #require(json["strategies"] as? [[String: Any]])
            #expect(strategies.map { $0["name"] as? String } == ["data", "hybrid"])
            return strategies.compactMap { ($0["predicted_seconds"] as? [String: Any])?[machine] as? Double }
        }
        let large = try json("--ranks 4 --batch 512")
        #expect(large["auto"] as? String == "data" && large["chosen"] as? String == "data")
        #expect(large["saved_bytes_per_byte_sent"] as? Double ?? 9 < 2)
        let small = try json("--ranks 4 --batch 4")
        #expect(small["auto"] as? String == "hybrid" && small["chosen"] as? String == "data")
        #expect(small["saved_bytes_per_byte_sent"] as? Double ?? 0 > 2)
        for machine in ["minwa", "h100x8", "pc"] {
            let (few, many) = try (seconds(small, machine), seconds(large, machine))
            #expect(few.count == 2 && few.allSatisfy { $0 > 0 }, "\(few)")
            #expect(zip(few, many).allSatisfy { $0 < $1 }, "more images take longer: \(few), \(many)")
        }
        // Over Ethernet the exchange between PCs takes longer than inside one.
        let apart = try json("--ranks 4 --nodes 4 --batch 4")
        #expect(apart["nodes"] as? Int == 4)
        #expect(try seconds(apart, "pc")[0] > 2 * seconds(small, "pc")[0])
        #expect(try seconds(json("--ranks 4 --nodes 2 --batch 4"), "pc")[0] < seconds(apart, "pc")[0])
        // Each micro-batch has an exchange of activations of its own.
        let few = "--ranks 4 --batch 16"
        let (whole, divided) = try (json(few), json("\(few) --micro-batches 16"))
        #expect(try seconds(divided, "h100x8")[1] > 1.5 * seconds(whole, "h100x8")[1])
        try place.expect(run("plan --ranks 4 --nodes 3", 2, "--nodes 3: expected a divisor of --ranks 4"))
        try place.expect(run("plan --ranks 2 --machine fast", 2, "--machine fast: no such file"))
        try place.expect(run("plan --machine pc", 2, "--machine: expected --ranks of 2 or more"))
    }

    @Test func planIsOfWhatTrainWouldRun() throws {
        let plan = try place.succeed("plan --batch 32 --classes 3 --device-memory 10M")
        let train = try place.expect(run("train --data set --batch 32 --device-memory 10M --out never", 1))
        #expect(
            plan.output.split(separator: "\n")[...] == train.errors.split(separator: "\n").dropFirst(),
            "\(plan.output) \(train.errors)")
    }

    /// A cache larger than the device is refused before anything is read, and the proposed size fits.
    @Test func cacheIsPlanned() throws {
        let options = "--model 16,M,F16 --image-size 16 --batch 32 --device-memory 4G --cache"
        let message =
            "a cache of 1000G (1073.74 GB) does not fit: the device has 4.29 GB, of which training with "
            + "batches of 32 takes 2.5 MB; give --cache "
        try place.expect(
            run("train --data set --out never \(options) 1000G", 1, "error: " + message, "cached data"))
        let plan = try place.succeed("plan --classes 3 \(options) 1000G")
        #expect(plan.output.contains(message), "\(plan)")
        let proposed =
            plan.output.split(separator: message).last.map { String($0.prefix { $0 != " " }) } ?? ""
        #expect(proposed == "3.9G")
        let second = try place.succeed("plan --classes 3 \(options) \(proposed)")
        #expect(second.output.contains("\nfits "), "\(second)")
    }

    @Test(arguments: ["1X", "0", "-1G"]) func notAnAmount(text: String) throws {
        for command in ["plan", "train"] {
            try place.expect(run("\(command) --device-memory=\(text)", 2, "device-memory", "512M"))
        }
    }
}
