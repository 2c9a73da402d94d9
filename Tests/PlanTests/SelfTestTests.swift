import Compute
import TestSupport
import Testing

@testable import Benchmarks

/// The self-test reports what fails and continues.
@Suite struct SelfTestTests {
    private struct Broken: Error, CustomStringConvertible { let description = "a broken driver" }

    private func run(_ checks: [SelfTest.Check], _ body: KernelBody = .cpu) throws -> SelfTest {
        var description = try #require(presentDevices.first)
        description.kernels = body
        return SelfTest(description, checks: checks) { _ in }
    }

    @Test(arguments: KernelBody.allCases) func everyKernelIsRight(body: KernelBody) throws {
        let test = try run(SelfTest.checks, body)
        #expect(test.rows.count == SelfTest.names.count)
        for row in test.rows { #expect(row.isPassed, "\(row)") }
        #expect(test.coverage.map(\.notLaunched) == [[]])
        #expect(test.isPassed && test.coverage[0].launched.count > 20)
    }

    @Test func failuresAreReported() throws {
        let adding = try #require(SelfTest.checks.first { $0.name == "adding gradients" })
        let test = try run([
            SelfTest.Check("wrong", limit: 1) { _ in 2 }, SelfTest.Check("no number", limit: 1) { _ in .nan },
            SelfTest.Check("broken", limit: 1) { _ in throw Broken() }, adding,
        ])
        #expect(test.rows.map(\.isPassed) == [false, false, false, true])
        #expect(test.rows[2].error == nil && test.rows[2].note == "a broken driver")
        #expect(test.coverage[0].launched == ["optimizer: gradient_add"])
        #expect(test.coverage[0].notLaunched.contains("softmax: softmax_forward"))
        #expect(!test.isPassed)
    }

    /// All checks pass, but a kernel was not launched.
    @Test func kernelsWithoutACheckAreAFailure() throws {
        let test = try run(
            SelfTest.checks.filter {
                $0.name != "softmax, many classes" && !$0.name.hasPrefix("dense evaluation")
            })
        #expect(test.rows.allSatisfy(\.isPassed) && !test.isPassed)
        #expect(test.coverage[0].notLaunched.contains("softmax: softmax_forward"))
    }

    /// A check may change the tuning, and the next one must not see that.
    @Test func checksDoNotChangeEachOthersTuning() throws {
        let test = try run([
            SelfTest.Check("first", limit: 0) { device in
                try device.tuning.set(["peak.sums": 3])
                return 0
            },
            SelfTest.Check("second", limit: 0) { device in
                device.tuning[KernelFamilies.peak.sums] == 3 ? 1 : 0
            },
        ])
        #expect(test.rows.map(\.isPassed) == [true, true])
    }
}
