import ArgumentParser
import Foundation

useLineBuffering()
reportFullFiles()
do {
    var command = try TrainerCommand.parseAsRoot()
    try command.run()
} catch {
    exit(Failure.report(error))
}
