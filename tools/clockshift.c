// Shifts the wall clock of the processes that it is preloaded into (LD_PRELOAD); monotonic clocks stay.
//
// The file CLOCKSHIFT_FILE has 64 integers: seconds to add to the wall clock of rank 0, 1, … and, as the last
// one, of processes that are no ranks. Changes take effect at once.
// usage: cc -shared -fPIC -O2 -o clockshift.so clockshift.c -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { places = 64 };
static const volatile int64_t *shift;

__attribute__((constructor)) static void open_file(void) {
    static const int64_t none;
    shift = &none;
    const char *path = getenv("CLOCKSHIFT_FILE"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    const int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    const int64_t *all = mmap(NULL, places * sizeof *all, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (all == MAP_FAILED) return;
    const int place = rank ? atoi(rank) : places - 1;
    shift = all + (place < places ? place : places - 1);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL) *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    const int code = real(clock, time);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && shift != NULL)
        time->tv_sec += *shift;
    return code;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    (void)zone;
    struct timespec now;
    const int code = clock_gettime(CLOCK_REALTIME, &now);
    *time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return code;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result != NULL) *result = now.tv_sec;
    return now.tv_sec;
}
