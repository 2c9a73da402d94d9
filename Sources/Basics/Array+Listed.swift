extension [String] {
    /// Returns the first few elements for a message: "a, b and 3 more".
    public func listed(atMost limit: Int) -> String {
        prefix(limit).joined(separator: ", ") + (count > limit ? " and \(count - limit) more" : "")
    }
}
