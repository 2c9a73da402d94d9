import Basics
import Photographs

extension UnusedFiles {
    /// Returns the line that says which command lists each file; nil if there is none.
    ///
    /// - Parameters:
    ///   - data: the photographs, as the user named them.
    ///   - labels: their list of labels, if there is one.
    func listing(data: String, labels: String? = nil) -> String? {
        guard !isEmpty else { return nil }
        let list = labels.map { " --labels " + shellQuoted($0) } ?? ""
        return "each file that is not used is listed by: trainer inspect \(shellQuoted(data))\(list) "
            + "--out inspection.html"
    }
}
