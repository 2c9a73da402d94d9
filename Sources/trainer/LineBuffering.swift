// Foundation would bring Glibc in without @preconcurrency, and with it a `stdout` that strict concurrency
// refuses.
@preconcurrency import Glibc

/// Lets lines appear as they are printed, in a file too: somebody may be following it.
func useLineBuffering() { setvbuf(stdout, nil, _IOLBF, 0) }

/// Lets a write past the limit on the size of files (ulimit -f) fail with an error that can be told, rather
/// than end the process.
func reportFullFiles() { signal(SIGXFSZ, SIG_IGN) }

/// Whether something that was printed has not arrived, as on a full disk.
func outputHasFailed() -> Bool { fflush(stdout) != 0 || ferror(stdout) != 0 }
