#define _GNU_SOURCE
#include "cprocess.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int cprocess_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

void cprocess_require_stack(size_t bytes) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_STACK, &limit) != 0 || limit.rlim_cur >= bytes) return;
    char text[200];
    const int count = snprintf(
        text, sizeof text,
        "error: the stack is limited to %lu KiB here, and this program needs %zu KiB; raise the limit by "
        "ulimit -s 8192\n",
        (unsigned long)(limit.rlim_cur >> 10), bytes >> 10);
    const ssize_t written = write(STDERR_FILENO, text, count);
    (void)written;
    _exit(1);
}

int cprocess_set_thread_stacks(size_t bytes) {
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code != 0) return code;
    code = pthread_attr_setstacksize(&attributes, bytes);
    if (code == 0) code = pthread_setattr_default_np(&attributes);
    pthread_attr_destroy(&attributes);
    return code;
}

static int spawn(pid_t *id, char *const arguments[], char *const environment[], int output, int error) {
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    sigset_t none, pipes;
    int code = posix_spawnattr_init(&attributes);
    if (code != 0) return code;
    code = posix_spawn_file_actions_init(&actions);
    if (code != 0) {
        posix_spawnattr_destroy(&attributes);
        return code;
    }
    sigemptyset(&none);
    sigemptyset(&pipes);
    sigaddset(&pipes, SIGPIPE);
    code = posix_spawnattr_setsigmask(&attributes, &none);
    if (code == 0) code = posix_spawnattr_setsigdefault(&attributes, &pipes);
    if (code == 0)
        code = posix_spawnattr_setflags(
            &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSID);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
    if (code == 0) code = posix_spawn_file_actions_adddup2(&actions, error, STDERR_FILENO);
    if (code == 0) code = posix_spawnp(id, arguments[0], &actions, &attributes, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return code;
}

int cprocess_spawn_session(
    pid_t *id, char *const arguments[], char *const environment[], int outputs[2]) {
    int output[2], error[2];
    if (pipe2(output, O_CLOEXEC) != 0) return errno;
    if (pipe2(error, O_CLOEXEC) != 0) {
        const int code = errno;
        close(output[0]);
        close(output[1]);
        return code;
    }
    const int code = spawn(id, arguments, environment, output[1], error[1]);
    close(output[1]);
    close(error[1]);
    if (code != 0) {
        close(output[0]);
        close(error[0]);
        return code;
    }
    outputs[0] = output[0];
    outputs[1] = error[0];
    for (int i = 0; i < 2; i++) fcntl(outputs[i], F_SETFL, fcntl(outputs[i], F_GETFL) | O_NONBLOCK);
    return 0;
}
