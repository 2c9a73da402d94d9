import ArgumentParser
import Foundation
import ImageData
import NeuralNet
import Training

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a network on a folder of photographs (the default command).",
        discussion: """
            The folder holds train/CLASS/*.jpg and val/CLASS/*.jpg, or CLASS/*.jpg, of which --val-fraction is held out.
            Without --data it trains on the demo set, which it draws first where it is missing.
            """)

    @Option(help: "Folder of labelled photographs. Default: the demo set in \(DemoSet.path).")
    var data: String?

    @Option(help: "A name (mini, linear, scaling, vgg16, deepimage) or a list: n = 3×3 convolution, M = max-pooling, Fn = fully connected.")
    var model = TrainCommand.defaults.model

    @Option(help: "Side of the network's input in pixels.")
    var imageSize = TrainCommand.defaults.imageSize

    @Option(
        help:
            "Pixels to which the shorter side is brought. Default: 8/7 of the image size, or the image size where the photographs have it.")
    var shortSide: Int?

    @Option(help: "Images of a mini-batch.")
    var batch = TrainCommand.defaults.batch

    @Option(help: "Parts that a mini-batch is run in: a power of two that divides it.")
    var shards = TrainCommand.defaults.shards

    @Option(help: "Passes over the training set.")
    var epochs = TrainCommand.defaults.epochs

    @OptionGroup var device: DeviceOptions

    @Option(help: "The run's folder, which must not exist. Default: runs/MODEL-N.")
    var out: String?

    @Option(help: "Learning rate after the warm-up.")
    var learningRate = TrainCommand.defaults.learningRate

    @Option(help: "How the rate goes on: constant, step (÷10 at each third), plateau (÷10 when validation stalls) or cosine.")
    var schedule = TrainCommand.defaults.schedule

    @Option(help: "Epochs over which the rate rises to its peak.")
    var warmupEpochs = TrainCommand.defaults.warmupEpochs

    @Option(help: "Momentum of stochastic gradient descent.")
    var momentum = TrainCommand.defaults.momentum

    @Option(help: "Weight decay; it leaves biases alone.")
    var weightDecay = TrainCommand.defaults.weightDecay

    @Option(help: "Probability with which a hidden fully connected unit is dropped.")
    var dropout = TrainCommand.defaults.dropout

    @Option(help: "none (central crop) or standard (random crop and mirror).")
    var augment = TrainCommand.defaults.augmentation

    @Option(help: "Seed of all that is random.")
    var seed = TrainCommand.defaults.seed

    @Option(help: "Threads that read photographs.")
    var workers = TrainCommand.defaults.workers

    @Option(help: "Share of the photographs held out for validation where the folder has no val/.")
    var valFraction = TrainCommand.defaults.validationFraction

    @Option(help: "Algorithm of the convolutions: direct, im2col, winograd2 or winograd4. Default: the fastest for each layer.")
    var convolution: ConvolutionAlgorithm?

    private static let defaults = TrainingOptions()

    private func options() -> TrainingOptions {
        var options = TrainingOptions()
        options.data = data ?? DemoSet.path
        options.model = model
        options.imageSize = imageSize
        options.shortSide = shortSide
        options.batch = batch
        options.shards = shards
        options.epochs = epochs
        options.device = device.device
        options.output = out ?? RunFolder.unused(named: model.allSatisfy { $0.isLetter || $0.isNumber } ? model : "custom")
        options.learningRate = learningRate
        options.schedule = schedule
        options.warmupEpochs = warmupEpochs
        options.momentum = momentum
        options.weightDecay = weightDecay
        options.dropout = dropout
        options.augmentation = augment
        options.seed = seed
        options.workers = workers
        options.validationFraction = valFraction
        options.convolution = convolution
        return options
    }

    func run() throws {
        let options = options()
        try options.validate()
        if data == nil { try DemoSet.drawWhereMissing() }
        let console = TrainingConsole()
        let trainer = try Trainer(options, version: programVersion) { console.show($0) }
        let last = try trainer.run()
        print("run: \(options.output)")
        if let last { print("last: \(TrainingConsole.accuracy(last.validation)) after epoch \(last.epoch)") }
        print("next: trainer evaluate --checkpoint \(options.output) --data \(options.data)")
    }
}

/// The set that `trainer` without arguments trains on.
enum DemoSet {
    static let path = "scenes"

    static func drawWhereMissing() throws {
        if FileManager.default.fileExists(atPath: path) { return }
        print("drawing the demo set in \(path)/")
        try Scenes.write(to: path, count: 2500, size: 96, seed: 1)
    }
}
