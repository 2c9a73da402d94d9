#define _GNU_SOURCE
#include "cprocess.h"

#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>

int cprocess_adopt_orphans(void) { return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); }

int cprocess_spawn_session(pid_t *id, char *const arguments[], char *const environment[]) {
    posix_spawnattr_t attributes;
    sigset_t none;
    int code = posix_spawnattr_init(&attributes);
    if (code != 0) return code;
    sigemptyset(&none);
    code = posix_spawnattr_setsigmask(&attributes, &none);
    if (code == 0) code = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
    if (code == 0) code = posix_spawnp(id, arguments[0], 0, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    return code;
}
