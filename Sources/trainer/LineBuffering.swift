// Foundation would import Glibc without @preconcurrency, and strict concurrency refuses that `stdout`.
@preconcurrency import Glibc

/// Makes each line appear when it is printed, also in a file.
func useLineBuffering() { setvbuf(stdout, nil, _IOLBF, 0) }

/// Makes a write beyond the limit on file sizes (ulimit -f) fail with an error instead of ending the process.
func reportFullFiles() { signal(SIGXFSZ, SIG_IGN) }

/// Returns whether some output was lost, as on a full disk.
func outputHasFailed() -> Bool { fflush(stdout) != 0 || ferror(stdout) != 0 }
