// What Swift's import of the C library leaves out: functions with a variable number of arguments, and GNU's
// flags.
#pragma once
#include <sys/types.h>

// Makes this process the parent of all its descendants whose own parents end. Returns 0, or -1 with errno.
int cprocess_adopt_orphans(void);

// Ends the process with status 1 and a message if its stack is limited to fewer bytes. Takes little of it.
void cprocess_require_stack(size_t bytes);

// Sets the size of the stacks of threads that are started without one. Returns 0, or an error's number.
int cprocess_set_thread_stacks(size_t bytes);

// Starts a program, found in PATH, in a session of its own, with all signals unblocked and SIGPIPE not
// ignored. Its standard output and error are pipes, whose other ends `outputs` gets; reading from them does
// not wait. Returns 0, or an error's number.
int cprocess_spawn_session(
    pid_t *id, char *const arguments[], char *const environment[], int outputs[2]);
