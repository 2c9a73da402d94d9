import Basics
import Foundation

/// A folder for the temporary files of mpirun and of the ranks on this machine.
///
/// mpirun removes its files only if it ends by itself. What its daemons leave on other machines is removed by
/// the ranks of the next start, which know the numbers of earlier jobs.
final class SessionFolder {
    let path: String
    private let parent: String
    /// The numbers by which Open MPI names the folders of earlier jobs.
    private(set) var endedJobs: [String] = []
    private var currentJob: String?
    private static let prefix = "trainer-launch-"

    /// Makes the folder in TMPDIR, and removes those of launchers that were killed.
    ///
    /// - Throws: `LaunchError`
    init() throws {
        parent = NSTemporaryDirectory()
        var path = ""
        // Another launcher may take the folder over before it is locked.
        repeat { path = try SessionFolder.make(in: parent) } while try !SessionFolder.hold(path)
        self.path = path
        takeOver()
    }

    private static func make(in parent: String) throws -> String {
        var template = Array((parent + "/" + SessionFolder.prefix + "XXXXXX").utf8CString)
        guard mkdtemp(&template) != nil else { throw noFolder(in: parent) }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Locks a new folder for this process, mpirun and the ranks, which inherit the lock.
    ///
    /// - Returns: false if another launcher has removed it
    private static func hold(_ path: String) throws -> Bool {
        let lock = open(SessionFolder.lock(path), O_WRONLY | O_CREAT, 0o600)
        if lock < 0, errno == ENOENT { return false }
        guard lock >= 0 else {
            let error = noFolder(in: path)
            try? Folder.remove(path)
            throw error
        }
        // Without file locks, no launcher removes the folder of another.
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            if errno != EWOULDBLOCK { return true }
            close(lock)
            return false
        }
        var status = stat()
        if fstat(lock, &status) == 0, status.st_nlink > 0 { return true }
        close(lock)
        return false
    }

    private static func noFolder(in parent: String) -> LaunchError {
        LaunchError(
            description:
                "no folder can be made in \(parent) (\(String(cString: strerror(errno)))), where Open "
                + "MPI keeps temporary files; set TMPDIR to a folder that can be written")
    }

    private static func lock(_ path: String) -> String { path + "/lock" }

    /// Removes the folders of launchers that were killed.
    private func takeOver() {
        for name in (try? Folder.names(parent)) ?? [] where name.hasPrefix(SessionFolder.prefix) {
            takeOver(parent + "/" + name)
        }
    }

    /// Removes a folder whose processes have ended, and notes its jobs.
    private func takeOver(_ path: String) {
        let lock = open(SessionFolder.lock(path), O_WRONLY | O_CLOEXEC)
        guard lock >= 0 else {
            // Empty: its launcher was killed, or will notice the loss and make another.
            if errno == ENOENT { rmdir(path) }
            return
        }
        defer { close(lock) }
        guard flock(lock, LOCK_EX | LOCK_NB) == 0 else { return }
        SessionFolder.job(in: path).map { endedJobs.append($0) }
        SessionFolder.remove(path)
    }

    /// Removes a folder, and its lock last: without it, no other launcher would remove what is left.
    private static func remove(_ path: String) {
        empty(path)
        unlink(lock(path))
        rmdir(path)
    }

    private static func empty(_ path: String) {
        for name in (try? Folder.names(path)) ?? [] where name != "lock" {
            try? Folder.remove("\(path)/\(name)")
        }
    }

    /// Looks for the number of the job that has been started.
    func look() { currentJob = currentJob ?? SessionFolder.job(in: path) }

    /// Removes what an ended job has left.
    func empty() {
        look()
        currentJob.map { endedJobs.append($0) }
        currentJob = nil
        SessionFolder.empty(path)
    }

    /// Removes the folder, and those of launchers whose ranks have ended meanwhile.
    func remove() {
        SessionFolder.remove(path)
        takeOver()
    }

    /// Returns the number of the job whose mpirun has its files in a folder.
    ///
    /// `contact.txt` begins with mpirun's own name in the job, such as 3202154496.0; the upper half of the
    /// first number names the folders of the other daemons.
    private static func job(in path: String) -> String? {
        func below(_ path: String, _ prefix: String) -> [String] {
            ((try? Folder.names(path)) ?? []).filter { $0.hasPrefix(prefix) }.map { "\(path)/\($0)" }
        }
        let files = below(path, "ompi.").flatMap { below($0, "pid.") }.map { $0 + "/contact.txt" }
        return files.lazy.compactMap { file in
            (try? String(contentsOfFile: file, encoding: .utf8)).flatMap { number(in: $0) }
        }.first
    }

    /// Returns the number of a job in the text of `contact.txt`.
    static func number(in text: String) -> String? {
        text.split(separator: ".").first.flatMap { UInt32($0) }.map { String($0 >> 16) }
    }
}
