import ArgumentParser
import Foundation

/// Checks the names of the files that a command will write.
enum OutputFile {
    /// Checks the files of several options as below, and that no two of them are the same file.
    static func requireWritable(_ outputs: [(option: String, paths: [String])]) throws {
        var options: [String: String] = [:]
        for (option, paths) in outputs {
            for path in paths {
                try requireWritable(path, option: option)
                if let other = options.updateValue(option, forKey: place(path)) {
                    throw ValidationError(
                        "\(option) would overwrite \(path), which \(other) writes; give another name")
                }
            }
        }
    }

    /// Returns one name for all ways to write a file's path.
    private static func place(_ path: String) -> String {
        URL(fileURLWithPath: path).resolvingSymlinksInPath().standardizedFileURL.path
    }

    /// Throws before the work begins if a file cannot be written or must not be overwritten.
    static func requireWritable(_ path: String, option: String) throws {
        guard !path.isEmpty else { throw ValidationError("\(option): expected a file's name, found nothing") }
        func refuse(_ reason: String) -> ValidationError { ValidationError("\(option) \(path): \(reason)") }
        let files = FileManager.default
        var isFolder: ObjCBool = false
        let folder = path.contains("/") ? URL(fileURLWithPath: path).deletingLastPathComponent().path : "."
        guard files.fileExists(atPath: folder, isDirectory: &isFolder), isFolder.boolValue else {
            throw refuse("there is no folder \(folder)")
        }
        guard files.isWritableFile(atPath: folder) else {
            throw refuse("the folder \(folder) cannot be written")
        }
        guard files.fileExists(atPath: path, isDirectory: &isFolder) else { return }
        if isFolder.boolValue { throw refuse("this is a folder; expected a file's name") }
        // If the option's value was forgotten, the next argument took its place: an input file.
        var inputs = ["jpg": "a photograph", "jpeg": "a photograph", "safetensors": "a model"]
        if option != "--save-posteriors" { inputs["npy"] = "an array" }
        if let kind = inputs[URL(fileURLWithPath: path).pathExtension.lowercased()] {
            throw refuse("this is \(kind) and is not overwritten; give another name")
        }
        if path.hasSuffix(".npy.json"), option != "--save-posteriors" {
            throw refuse("these are the names of an array and are not overwritten; give another name")
        }
        if files.fileExists(atPath: folder + "/checkpoints") {
            throw refuse("this is a file of a run and is not overwritten; give another name")
        }
    }
}
