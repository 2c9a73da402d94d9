import Photographs

extension DatasetError {
    /// What to do about the error, in the options of the command line; nil if the description says enough.
    var remedy: String? {
        guard case .batchTooLarge(let largest) = kind else { return nil }
        return largest > 0 ? "give --batch \(largest) or less" : "give fewer --micro-batches"
    }
}
