// swift-tools-version: 6.2
import PackageDescription

/// Makes warnings errors everywhere.
let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]
/// Optimises debug builds too, in which loops over pixels or parameters run 20–200 times slower.
let fast: [SwiftSetting] = strict + [.unsafeFlags(["-O"], .when(configuration: .debug))]
let strictC: [CSetting] = [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]

/// Makes a target of the program.
func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: fast)
}

/// Makes a target of tests.
func tests(_ name: String, _ needed: [Target.Dependency], _ settings: [SwiftSetting] = strict) -> Target {
    .testTarget(name: name, dependencies: needed, swiftSettings: settings)
}

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

/// What the program and the fuzzer stand on.
let everything: [Target.Dependency] = [
    "Basics", "Randomness", "Compute", "NeuralNet", "Photographs", "DeviceInput", "DemoScenes", "Models",
    "Collectives", "Configuration", "Evaluation", "Runs", "Training", "Scaling", "Benchmarks", "CProcess",
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
        .systemLibrary(name: "CLibWebP", pkgConfig: "libwebpdemux", providers: [.apt(["libwebp-dev"])]),
        .target(name: "CJPEG", dependencies: ["CLibJPEG"], cSettings: strictC),
        .target(
            name: "CPNG", dependencies: ["CLibPNG"], cSettings: strictC,
            linkerSettings: [.linkedLibrary("z")]),
        .target(name: "CProcess", cSettings: strictC),
        .target(name: "CMPI", cSettings: strictC, linkerSettings: [.linkedLibrary("dl")]),
        .target(
            name: "Kernels", path: "Kernels",
            cSettings: [.unsafeFlags(["-std=c23", "-Wall", "-Wextra", "-Werror"])]),

        // From the bottom up: a target uses only those above it in this list.
        library("Basics"), library("Randomness"), library("Oracle"),
        library("Compute", ["COpenCL", "Kernels", "Basics"]),
        library("NeuralNet", ["Compute", "Randomness", "Basics"]),
        library("Photographs", ["CJPEG", "CPNG", "CLibPNG", "CLibWebP", "Randomness", "Basics"]),
        library("DeviceInput", ["Photographs", "NeuralNet", "Compute", "Randomness", "Basics"]),
        library("DemoScenes", ["Photographs", "Randomness", "Basics"]),
        library("Models", ["NeuralNet", "Basics"]), library("Collectives", ["CMPI", "Basics"]),
        library(
            "Configuration",
            ["DeviceInput", "Photographs", "NeuralNet", "Compute", "Collectives", "Basics", "Yams"]),
        library(
            "Evaluation",
            ["DeviceInput", "Photographs", "Models", "NeuralNet", "Collectives", "Basics"]),
        library(
            "Runs",
            [
                "Configuration", "Evaluation", "Collectives", "Photographs", "Models", "NeuralNet", "Basics",
            ]),
        library(
            "Training",
            [
                "Runs", "Configuration", "Evaluation", "Collectives", "DeviceInput", "Photographs", "Models",
                "NeuralNet", "Compute", "Randomness", "Basics",
            ]),
        library(
            "Scaling", ["Training", "Configuration", "Collectives", "NeuralNet", "Compute", "Basics"]),
        library(
            "Benchmarks",
            [
                "Training", "Collectives", "DeviceInput", "Photographs", "Models", "NeuralNet", "Compute",
                "Oracle", "Randomness",
            ]),
        .executableTarget(
            name: "trainer", dependencies: everything + [argumentParser], swiftSettings: strict),
        .executableTarget(name: "fuzz", dependencies: everything + [argumentParser], swiftSettings: fast),

        .target(
            name: "TestSupport",
            dependencies: [
                "DeviceInput", "Photographs", "Models", "Compute", "Randomness",
                .product(name: "Subprocess", package: "swift-subprocess"),
            ], path: "Tests/TestSupport", swiftSettings: fast),
        tests("RandomnessTests", ["Randomness"]), tests("OracleTests", ["Oracle"]),
        tests("BasicsTests", ["Basics", "Models", "TestSupport"]),
        tests("CollectivesTests", ["Collectives"], fast), tests("ComputeTests", ["Compute", "TestSupport"]),
        tests(
            "NeuralNetTests",
            [
                "NeuralNet", "DeviceInput", "Benchmarks", "Compute",
                "Oracle", "Randomness", "TestSupport",
            ], fast),
        tests("PhotographsTests", ["Photographs", "DemoScenes", "CLibPNG", "CLibWebP", "TestSupport"]),
        tests(
            "AugmentationTests", ["Benchmarks", "DeviceInput", "Oracle", "Randomness", "TestSupport"]),
        tests(
            "ScalingTests",
            [
                "Scaling", "Training", "Configuration", "Collectives",
                "NeuralNet", "Compute", "TestSupport",
            ]),
        tests("PlanTests", ["Benchmarks", "Training", "NeuralNet", "Compute", "TestSupport"]),
        tests(
            "EvaluationTests",
            [
                "Evaluation", "NeuralNet", "Photographs", "Models",
                "Compute", "Randomness", "Basics", "TestSupport",
            ]),
        tests("TrainingTests", everything + ["trainer", "TestSupport"]),
        tests("CommandLineTests", everything + ["trainer", "fuzz", "TestSupport"]),
    ],
    swiftLanguageModes: [.v6],
    cLanguageStandard: .gnu2x
)
