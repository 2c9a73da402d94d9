import Foundation
import Testing

/// Checks that a network has learnt.
///
/// The mean loss of the last quarter of the steps must be finite, and at least a fifth below both the first
/// loss and ln(classes), which is the loss of guessing.
///
/// - Parameter losses: the mean loss of each step, in order
public func expectLearnt(
    _ losses: [Double], classes: Int, _ name: String = "", sourceLocation: SourceLocation = #_sourceLocation
) {
    let last = losses.suffix(max(1, losses.count / 4))
    let end = last.reduce(0, +) / Double(last.count)
    let bound = 0.8 * min(losses.first ?? 0, log(Double(classes)))
    let comment: Comment = "\(name) has not learnt \(classes) classes: \(losses)"
    #expect(end < bound, comment, sourceLocation: sourceLocation)
}
