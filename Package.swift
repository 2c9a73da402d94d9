// swift-tools-version: 6.2
import PackageDescription

/// Warnings are errors everywhere. `swift run` builds for debugging, where Swift loops run 20–200 times
/// slower, so targets with loops over pixels or parameters are optimised in that build too.
let strict: [SwiftSetting] = [.treatAllWarnings(as: .error)]
let fast: [SwiftSetting] = strict + [.unsafeFlags(["-O"], .when(configuration: .debug))]

let package = Package(
    name: "deep-image", products: [.executable(name: "trainer", targets: ["trainer"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        .systemLibrary(
            name: "COpenCL", pkgConfig: "OpenCL", providers: [.apt(["ocl-icd-opencl-dev", "opencl-headers"])]),
        .systemLibrary(name: "CLibJPEG", pkgConfig: "libjpeg", providers: [.apt(["libjpeg-dev"])]),
        .target(
            name: "CJPEG", dependencies: ["CLibJPEG"],
            cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])]),
        .target(
            name: "CMPI", cSettings: [.unsafeFlags(["-O2", "-Wall", "-Wextra", "-Werror"])],
            linkerSettings: [.linkedLibrary("dl")]),
        .target(
            name: "Kernels", path: "Kernels",
            cSettings: [.unsafeFlags(["-std=c23", "-Wall", "-Wextra", "-Werror"])]),

        .target(name: "Files", swiftSettings: fast), .target(name: "Randomness", swiftSettings: fast),
        .target(name: "Oracle", swiftSettings: fast),
        .target(name: "Compute", dependencies: ["COpenCL", "Kernels"], swiftSettings: fast),
        .target(name: "NeuralNet", dependencies: ["Compute", "Randomness"], swiftSettings: fast),
        .target(name: "ImageData", dependencies: ["CJPEG", "Randomness"], swiftSettings: fast),
        .target(name: "ModelFiles", dependencies: ["NeuralNet"], swiftSettings: fast),
        .target(name: "Collectives", dependencies: ["CMPI", "Files"], swiftSettings: fast),
        .target(
            name: "Training",
            dependencies: [
                "Collectives", "NeuralNet", "ImageData", "ModelFiles",
                "Randomness", "Evaluation", "Oracle", "Yams",
            ], swiftSettings: fast),
        .target(
            name: "Evaluation", dependencies: ["NeuralNet", "ImageData", "ModelFiles"], swiftSettings: fast),
        .executableTarget(
            name: "trainer",
            dependencies: [
                "Training", "Evaluation", "ModelFiles", "ImageData", "NeuralNet", "Collectives", "Files",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: strict),
        .executableTarget(
            name: "fuzz",
            dependencies: [
                "Training", "Evaluation", "ModelFiles", "ImageData", "Randomness",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], swiftSettings: fast),

        .testTarget(
            name: "AugmentationTests",
            dependencies: ["Evaluation", "Oracle", "Randomness"], swiftSettings: strict),
        .testTarget(name: "CollectivesTests", dependencies: ["Collectives"], swiftSettings: fast),
        .testTarget(name: "OracleTests", dependencies: ["Oracle"], swiftSettings: strict),
        .testTarget(name: "RandomnessTests", dependencies: ["Randomness"], swiftSettings: strict),
        .testTarget(name: "ComputeTests", dependencies: ["Compute"], swiftSettings: strict),
        .testTarget(
            name: "NeuralNetTests",
            dependencies: ["NeuralNet", "Training", "Compute", "Oracle", "Randomness"], swiftSettings: fast),
        .testTarget(name: "ImageDataTests", dependencies: ["ImageData"], swiftSettings: strict),
        .testTarget(name: "ModelFilesTests", dependencies: ["ModelFiles"], swiftSettings: strict),
        .testTarget(
            name: "TrainingTests",
            dependencies: [
                "trainer", "Training", "Collectives", "NeuralNet",
                "ImageData", "ModelFiles", "Compute", "Randomness",
            ], swiftSettings: strict),
        .testTarget(
            name: "EvaluationTests",
            dependencies: ["Evaluation", "NeuralNet", "ImageData", "ModelFiles", "Compute", "Randomness"],
            swiftSettings: strict),
        .testTarget(
            name: "PlanTests", dependencies: ["Training", "NeuralNet", "Compute"], swiftSettings: strict),
        .testTarget(
            name: "CommandLineTests",
            dependencies: ["trainer", "fuzz", "ModelFiles", "ImageData"], swiftSettings: strict),
    ], swiftLanguageModes: [.v6], cLanguageStandard: .gnu2x)
