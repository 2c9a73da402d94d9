// Foundation would bring Glibc in without @preconcurrency, and with it a `stdout` that strict concurrency refuses.
@preconcurrency import Glibc

/// Lets lines appear as they are printed, in a file too: somebody may be following it.
func useLineBuffering() {
    setvbuf(stdout, nil, _IOLBF, 0)
}
