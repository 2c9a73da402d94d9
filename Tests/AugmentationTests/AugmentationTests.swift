@testable import DeviceInput
@testable import Photographs
import Testing

@Suite struct AugmentationTests {
    @Test(arguments: [
        "none", "standard", "paper", "paper,rotation=15", "paper,cast=30@0.25,mirror=@0,literal",
        "standard,crop=central", "none,barrel=0.1,crop=random", "paper,pincushion=@1,vignette-start=0:0.5",
    ]) func textReadsBack(text: String) throws {
        let read = try Augmentation(parsing: text)
        #expect(read.rawValue == text)
        #expect(Augmentation(rawValue: read.rawValue) == read)
    }

    @Test func textChangesWhatItNames() throws {
        let read = try Augmentation(
            parsing: "paper,rotation=15@0.75,mirror=@0.25,literal,crop=central,vignette-start=0.1:0.3")
        #expect(read[.rotation] == Augmentation.Effect(probability: 0.75, range: 15))
        #expect(read[.mirror].probability == 0.25)
        #expect(read[.cast] == Augmentation.paper[.cast])
        #expect(read.isLiteral && !read.cropsAtRandom && read.vignetteStart == 0.1...0.3)
    }

    @Test(arguments: [
        ("", "expected none, standard or paper"), ("Paper", "expected none, standard or paper"),
        ("paper,", "KIND=RANGE@PROBABILITY"), ("paper,turn=3", "turn=3"), ("paper,rotation=-1", "0 to 180"),
        ("paper,rotation=x", "0 to 180"), ("paper,cast=3@2", "behind @"), ("paper,cast=3@", "behind @"),
        ("paper,pincushion=0.2", "0 to 0.15"), ("paper,mirror=1", "mirror=@PROBABILITY"),
        ("paper,crop=left", "crop=random or crop=central"), ("paper,vignette-start=0.5:0.2", "LOW:HIGH"),
        ("paper,vignette-start=0.5:1", "LOW:HIGH"), ("paper,rotation=nan", "0 to 180"),
    ]) func mistakesAreNamed(text: String, expected: String) {
        let error = #expect(throws: DatasetError.self) { try Augmentation(parsing: text) }
        #expect(error?.kind == .badOption)
        #expect(error?.description.contains(expected) == true, "\(error?.description ?? "")")
    }

    @Test func strengthScalesOnlyRanges() {
        let half = Augmentation.paper.scaled(by: 0.5)
        #expect(
            half.steps(.cast) == 10 && half.steps(.rotation) == 5 && half.steps(.vignette) == 20
                && half.steps(.barrel) == 32)
        #expect(
            half[.rotation].probability == Augmentation.paper[.rotation].probability
                && half[.mirror] == Augmentation.paper[.mirror])
        #expect(Augmentation.paper.scaled(by: 10)[.pincushion].range == 0.15)
        let nothing = Augmentation.paper.scaled(by: 0)
        for sample in 0..<200 {
            #expect(
                AugmentationParameters.draw(
                    nothing, width: 90, height: 70, size: 64, seed: 1, epoch: 1, sample: sample
                ).isPlain)
        }
    }

    /// Table 1 has the paper's numbers except for crops, where the paper counts 288².
    @Test func countsAreThePapers() {
        let table = AugmentationCount.table(.paper)
        #expect(table.map(\.ours) == [68_920, 1_960, 260, 20, 2, 83_521])
        #expect(table.map(\.paper) == [68_920, 1_960, 260, 20, 2, 82_944])
    }

    @Test func countsFollowTheRanges() throws {
        let changed = try Augmentation(
            parsing:
                "paper,cast=1,rotation=3,vignette=0.1,vignette-start=0.5:0.525,barrel=0.04,mirror=@0,crop=central"
        )
        #expect(AugmentationCount.table(changed).map(\.ours) == [26, 15, 205, 6, 1, 1])
        #expect(
            AugmentationCount.table(.standard, width: 256, height: 300).map(\.ours) == [
                0, 0, 0, 0, 2, 33 * 77,
            ])
    }
}

@Suite struct AugmentationParametersTests {
    private func draw(_ augmentation: Augmentation, sample: Int, seed: UInt64 = 1, epoch: Int = 2)
        -> AugmentationParameters
    { .draw(augmentation, width: 90, height: 80, size: 64, seed: seed, epoch: epoch, sample: sample) }

    @Test func centralCrop() {
        #expect(
            AugmentationParameters.central(width: 96, height: 72, size: 64)
                == AugmentationParameters(x: 16, y: 4))
        #expect(
            AugmentationParameters.central(width: 3, height: 64, size: 64)
                == AugmentationParameters(x: -30, y: 0))
        #expect(draw(.none, sample: 9) == AugmentationParameters(x: 13, y: 8))
    }

    /// The offsets of torchvision's CenterCrop: round((side - 224) / 2) in Python, half to even.
    @Test(arguments: [
        (224, 0), (225, 0), (226, 1), (227, 2), (228, 2), (229, 2), (367, 72), (369, 72), (371, 74),
        (223, 0), (222, -1), (221, -1), (220, -2),
    ]) func centralOffsets(side: Int, offset: Int) {
        let crop = AugmentationParameters.central(width: side, height: 256, size: 224)
        #expect(crop == AugmentationParameters(x: Int32(offset), y: 16))
        let turned = AugmentationParameters.central(width: 256, height: side, size: 224)
        #expect(turned == AugmentationParameters(x: 16, y: Int32(offset)))
    }

    /// All offsets that exist are drawn evenly, and no others; half of the crops are mirrored.
    @Test(arguments: [
        (70, 67, 64, 0..<7, 0..<4), (32, 32, 32, -4..<5, -4..<5), (36, 32, 32, -4..<9, -4..<5),
        (1, 1, 32, -15..<(-14), -15..<(-14)),
    ]) func crops(width: Int, height: Int, size: Int, xs: Range<Int>, ys: Range<Int>) {
        var seenX: [Int32: Int] = [:]
        var seenY: [Int32: Int] = [:]
        var mirrored = 0
        let count = 4000
        for sample in 0..<count {
            let crop = AugmentationParameters.draw(
                .standard, width: width, height: height, size: size, seed: 1, epoch: 2, sample: sample)
            seenX[crop.x, default: 0] += 1
            seenY[crop.y, default: 0] += 1
            mirrored += crop.mirror ? 1 : 0
            #expect(crop.isPlain)
        }
        // Five standard deviations of a fair draw.
        func isEven(_ seen: [Int32: Int], _ range: Range<Int>) -> Bool {
            let share = Double(count) / Double(range.count)
            return Set(seen.keys) == Set(range.map { Int32($0) })
                && seen.values.allSatisfy { abs(Double($0) - share) <= 5 * share.squareRoot() }
        }
        #expect(isEven(seenX, xs), "\(seenX)")
        #expect(isEven(seenY, ys), "\(seenY)")
        #expect(abs(mirrored - count / 2) < 160, "\(mirrored)")
    }

    @Test func dependsOnEveryKey() {
        func all(seed: UInt64, epoch: Int) -> [AugmentationParameters] {
            (0..<50).map { draw(.paper, sample: $0, seed: seed, epoch: epoch) }
        }
        let first = all(seed: 1, epoch: 0)
        #expect(first == all(seed: 1, epoch: 0))
        #expect(first != all(seed: 2, epoch: 0))
        #expect(first != all(seed: 1, epoch: 1))
    }

    /// Another range or probability of one kind does not change what others draw.
    @Test func kindsAreDrawnIndependently() throws {
        let turned = try Augmentation(parsing: "paper,rotation=90@1")
        for sample in 0..<100 {
            var (one, other) = (draw(.paper, sample: sample), draw(turned, sample: sample))
            (one[.rotation], other[.rotation]) = (0, 0)
            #expect(one == other)
        }
    }

    /// Every value of each range is drawn, none beyond it, and as often as its probability says.
    @Test func rangesAndProbabilities() {
        let count = 20_000
        let drawn = (0..<count).map { draw(.paper, sample: $0) }
        // Five standard deviations of a coin tossed 20,000 times are at most 354.
        func share(_ probability: Double, _ happens: (AugmentationParameters) -> Bool) -> Bool {
            abs(Double(drawn.filter(happens).count) - probability * Double(count)) < 354
        }
        #expect(share(0.5) { $0[.rotation] != 0 })
        #expect(Set(drawn.map { $0[.rotation] }) == Set((-10...10).map { Double($0) }))
        // Some channel is set and not drawn as 0: 1 − (21/41 + …)³ of a half
        let unchanged = 0.5 + 0.5 / 41
        #expect(share(0.5 * (1 - unchanged * unchanged * unchanged)) { $0.cast != SIMD3() })
        for channel in 0..<3 { #expect(Set(drawn.map { $0.cast[channel] }) == Set(-20...20)) }
        #expect(share(0.25) { $0[.vignette] > 0 })
        let strengths = Set(drawn.map { Int(($0[.vignette] / 0.02).rounded()) })
        #expect(strengths == Set(0...40))
        let starts = drawn.filter { $0[.vignette] > 0 }.map {
            Int((($0.vignetteStart - 0.2) / 0.0125).rounded())
        }
        #expect(Set(starts) == Set(0...48))
        #expect(share(0.2) { $0[.horizontalStretch] > 0 } && share(0.2) { $0[.verticalStretch] > 0 })
        #expect(Set(drawn.map { Int(($0[.verticalStretch] / 0.005).rounded()) }) == Set(0...65))
        #expect(drawn.map(\.lens).max() == 65 * 0.004 && drawn.map(\.lens).min() == -65 * 0.002)
    }
}
