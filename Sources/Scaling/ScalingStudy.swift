import Basics
import Foundation

/// The paper's figures 2 and 3 for one machine and network: seconds of a step, and speed-ups.
public struct ScalingStudy {
    /// Steps on one number of devices, with a fixed number of images on each.
    public struct Step {
        public let devices: Int
        /// Of each strategy, in the order of `strategies`.
        public let seconds: [Double]
        /// Bytes of device memory that data and hybrid parallelism take; nil if there is no layer to split.
        public let memory: (data: Int, hybrid: Int?)
    }

    /// Speed-ups over one device for mini-batches of one size.
    public struct SpeedUps {
        public let batch: Int
        public let points: [(devices: Int, speedUp: Double)]
    }

    public let training: SimulatedTraining
    public let strategies: [SimulatedTraining.Strategy]
    public let imagesPerDevice: Int
    public let steps: [Step]
    /// Of the lazy strategy, as the machine reduces.
    public let speedUps: [SpeedUps]

    /// Simulates steps on 1, 2, 4, … devices.
    public init(
        _ training: SimulatedTraining, imagesPerDevice: Int, batches: [Int], largest: Int
    ) throws {
        self.training = training
        self.imagesPerDevice = imagesPerDevice
        strategies = training.strategies
        let counts = ScalingStudy.deviceCounts(to: largest)
        let strategies = self.strategies
        steps = try counts.map { devices in
            let batch = imagesPerDevice * devices
            return Step(
                devices: devices,
                seconds: try strategies.map {
                    try training.stepSeconds(devices: devices, batch: batch, strategy: $0)
                },
                memory: (
                    try training.memory(devices: devices, batch: batch, isHybrid: false),
                    training.hasHybrid
                        ? try training.memory(devices: devices, batch: batch, isHybrid: devices > 1) : nil
                ))
        }
        let lazy = strategies[1]
        speedUps = try batches.map { batch in
            let possible = counts.filter { SimulatedTraining.divides(batch: batch, devices: $0) }
            return SpeedUps(
                batch: batch,
                points: try possible.map {
                    ($0, try training.speedUp(devices: $0, batch: batch, strategy: lazy))
                })
        }
    }

    /// Returns 1, 2, 4, … up to `largest`.
    public static func deviceCounts(to largest: Int) -> [Int] {
        Array(sequence(first: 1) { 2 * $0 <= largest ? 2 * $0 : nil })
    }

    /// Returns a strategy's name, with the way to reduce if it is not the machine's own.
    public func name(_ strategy: SimulatedTraining.Strategy) -> String {
        guard strategy.nodeFirst != training.machine.nodeFirst else { return strategy.method.rawValue }
        return strategy.method.rawValue + (strategy.nodeFirst ? ", node first" : ", flat")
    }

    // MARK: - Pictures

    private var title: String { "\(training.model) on \(training.machine.name), simulated" }

    /// Figure 2: seconds of a step with a fixed number of images on each device.
    public var stepChart: LineChart {
        LineChart(
            "\(title): \(imagesPerDevice) images per device", x: "devices", y: "seconds per step",
            scales: (.binary, .linear),
            series: strategies.indices.map { index in
                LineChart.Series(
                    name(strategies[index]), steps.map { (Double($0.devices), $0.seconds[index]) },
                    style: strategies[index].method == .hybrid ? .dashed : .line)
            })
    }

    /// Figure 3: speed-ups for fixed mini-batches.
    public var speedUpChart: LineChart {
        let lines = speedUps.map { entry in
            LineChart.Series(
                "mini-batch \(entry.batch)", entry.points.map { (Double($0.devices), $0.speedUp) })
        }
        let ideal = steps.map { (x: Double($0.devices), y: Double($0.devices)) }
        return LineChart(
            "\(title), lazy", x: "devices", y: "speed-up over one device", scales: (.binary, .binary),
            series: [LineChart.Series("ideal", ideal, style: .dashed)] + lines)
    }
}

extension ScalingStudy: JSONConvertible {
    public var json: JSON {
        let names = strategies.map { name($0).replacing(", ", with: "_").replacing(" ", with: "_") }
        return [
            "machine": training.machine, "model": training.architecture.description,
            "image_size": training.imageSize, "classes": training.classes,
            "parameters": training.parameterCount, "images_per_device": imagesPerDevice,
            "steps": steps.map { step -> JSON in
                [
                    "devices": step.devices, "memory": step.memory.data,
                    "hybrid_memory": step.memory.hybrid,
                ]
                    + .object(zip(names, step.seconds).map { .init($0, .number($1)) })
            },
            "speed_ups": speedUps.map { entry in
                [
                    "batch": entry.batch,
                    "points": entry.points.map {
                        ["devices": $0.devices, "speed_up": $0.speedUp] as JSON
                    },
                ] as JSON
            },
        ]
    }
}
