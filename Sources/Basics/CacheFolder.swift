import Foundation

/// Names the folder for files that only save time, such as compiled programs and indexes of archives.
public enum CacheFolder {
    /// `DEEP_IMAGE_CACHE`, or `deep-image` in the user's cache folder.
    public static var path: String {
        let environment = ProcessInfo.processInfo.environment
        if let directory = environment["DEEP_IMAGE_CACHE"], !directory.isEmpty { return directory }
        if let caches = environment["XDG_CACHE_HOME"], !caches.isEmpty { return caches + "/deep-image" }
        return NSHomeDirectory() + "/.cache/deep-image"
    }
}
