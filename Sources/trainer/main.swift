import ArgumentParser
import Foundation

useLineBuffering()
do {
    var command = try TrainerCommand.parseAsRoot()
    try command.run()
} catch {
    exit(Failure.report(error))
}
