// swift-tools-version: 6.2
import PackageDescription

/// Makes warnings errors. `swift run` builds for debugging, where Swift loops run 20–200 times slower, so targets
/// with loops over pixels or parameters are optimised in that build too.
let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]
let fast: [SwiftSetting] = strict + [.unsafeFlags(["-O"], .when(configuration: .debug))]
let strictC: [CSetting] = [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

/// What the program and the fuzzer stand on.
let everything: [Target.Dependency] = [
    "Basics", "Randomness", "Compute", "NeuralNet", "Photographs", "DeviceInput", "DemoScenes", "Models",
    "Collectives", "Configuration", "Evaluation", "Runs", "Training", "Benchmarks",
]

let package = Package(
    name: "deep-image",
    products: [.executable(name: "trainer", targets: ["trainer"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
    ],
    targets: [
        .systemLibrary(
            name: "COpenCL", pkgConfig: "OpenCL",
            providers: [.apt(["ocl-icd-opencl-dev", "opencl-headers"])]),
        .systemLibrary(name: "CLibJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg-dev"])]),
        .systemLibrary(name: "CLibPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
        .target(name: "CJPEG", dependencies: ["CLibJPEG"], cSettings: strictC),
        .target(name: "CMPI", cSettings: strictC, linkerSettings: [.linkedLibrary("dl")]),
        .target(
            name: "Kernels", path: "Kernels",
            cSettings: [.unsafeFlags(["-std=c23", "-Wall", "-Wextra", "-Werror"])]),

        // From the bottom up: a target uses only those above it in this list.
        .target(name: "Basics", swiftSettings: fast),
        .target(name: "Randomness", swiftSettings: fast),
        .target(name: "Oracle", swiftSettings: fast),
        .target(name: "Compute", dependencies: ["COpenCL", "Kernels", "Basics"], swiftSettings: fast),
        .target(name: "NeuralNet", dependencies: ["Compute", "Randomness", "Basics"], swiftSettings: fast),
        .target(
            name: "Photographs",
            dependencies: ["CJPEG", "CLibPNG", "Randomness", "Basics"], swiftSettings: fast),
        .target(
            name: "DeviceInput",
            dependencies: ["Photographs", "NeuralNet", "Compute", "Randomness", "Basics"], swiftSettings: fast),
        .target(
            name: "DemoScenes", dependencies: ["Photographs", "Randomness", "Basics"], swiftSettings: fast),
        .target(name: "Models", dependencies: ["NeuralNet", "Basics"], swiftSettings: fast),
        .target(name: "Collectives", dependencies: ["CMPI", "Basics"], swiftSettings: fast),
        .target(
            name: "Configuration",
            dependencies: ["DeviceInput", "NeuralNet", "Compute", "Collectives", "Basics", "Yams"],
            swiftSettings: fast),
        .target(
            name: "Evaluation",
            dependencies: ["DeviceInput", "Photographs", "Models", "NeuralNet", "Basics"],
            swiftSettings: fast),
        .target(
            name: "Runs",
            dependencies: ["Configuration", "Evaluation", "Photographs", "Models", "NeuralNet", "Basics"],
            swiftSettings: fast),
        .target(
            name: "Training",
            dependencies: [
                "Runs", "Configuration", "Evaluation", "Collectives", "DeviceInput", "Photographs", "Models",
                "NeuralNet", "Compute", "Randomness", "Basics",
            ], swiftSettings: fast),
        .target(
            name: "Benchmarks",
            dependencies: [
                "Training", "Collectives", "DeviceInput", "Photographs", "Models", "NeuralNet", "Compute",
                "Oracle", "Randomness",
            ], swiftSettings: fast),
        .executableTarget(
            name: "trainer", dependencies: everything + [argumentParser], swiftSettings: strict),
        .executableTarget(name: "fuzz", dependencies: everything + [argumentParser], swiftSettings: fast),

        .target(
            name: "TestSupport",
            dependencies: [
                "DeviceInput", "Photographs", "Models", "Compute", "Randomness",
                .product(name: "Subprocess", package: "swift-subprocess"),
            ], path: "Tests/TestSupport", swiftSettings: fast),
        .testTarget(name: "RandomnessTests", dependencies: ["Randomness"], swiftSettings: strict),
        .testTarget(name: "OracleTests", dependencies: ["Oracle"], swiftSettings: strict),
        .testTarget(
            name: "BasicsTests", dependencies: ["Basics", "Models", "TestSupport"], swiftSettings: strict),
        .testTarget(name: "CollectivesTests", dependencies: ["Collectives"], swiftSettings: fast),
        .testTarget(name: "ComputeTests", dependencies: ["Compute", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "NeuralNetTests",
            dependencies: [
                "NeuralNet", "DeviceInput", "Benchmarks", "Compute", "Oracle", "Randomness", "TestSupport",
            ], swiftSettings: fast),
        .testTarget(
            name: "PhotographsTests",
            dependencies: ["Photographs", "DemoScenes", "CLibPNG", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "AugmentationTests",
            dependencies: ["DeviceInput", "Oracle", "Randomness", "TestSupport"], swiftSettings: strict),
        .testTarget(
            name: "PlanTests",
            dependencies: [
                "Benchmarks", "Training", "NeuralNet", "Compute",
            ], swiftSettings: strict),
        .testTarget(
            name: "EvaluationTests",
            dependencies: [
                "Evaluation", "NeuralNet", "Photographs", "Models",
                "Compute", "Randomness", "Basics", "TestSupport",
            ], swiftSettings: strict),
        .testTarget(
            name: "TrainingTests",
            dependencies: everything + [
                "trainer", "TestSupport",
            ], swiftSettings: strict),
        .testTarget(
            name: "CommandLineTests",
            dependencies: everything + ["trainer", "fuzz", "TestSupport"], swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu2x
)
