// Joins pretended hosts: a switch in user space over TAP devices with a rate, a delay, losses and cuts.
//
// It serves kernels without sch_netem. `tools/hosts up --delay …` builds and starts it.
// Lines to the FIFO: rate BITS_A_SECOND | delay MICROSECONDS | loss SHARE | buffer BYTES | cut HOST |
// heal HOST | stats.
//
// Each host has one full-duplex port: a frame leaves at `rate`, waits `delay`, and enters its target's port
// at `rate` again. A sender waits for its own full port, as for a queue in its kernel; a target's full port
// drops frames, as a switch does. Frames carry virtio headers, so TCP's segments of 64 KiB pass whole.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { most = 32, frameBytes = 70000, headerBytes = 10 };
typedef struct { double due; int to, size; unsigned char *bytes; } Frame;

static double rate = 0, delay = 0, loss = 0, roomBytes = 2e6;
static int hosts, fds[most], isCut[most];
static double leaves[most], enters[most];       // when each port is free again, out and in
static long frames, dropped, lost, carried;
static Frame *heap;
static int heapCount, heapRoom;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void push(Frame f) {
    if (heapCount == heapRoom) {
        heapRoom = heapRoom ? heapRoom * 2 : 1024;
        heap = realloc(heap, sizeof(Frame) * heapRoom);
    }
    int i = heapCount++;
    while (i && heap[(i - 1) / 2].due > f.due) { heap[i] = heap[(i - 1) / 2]; i = (i - 1) / 2; }
    heap[i] = f;
}

static Frame pop(void) {
    Frame top = heap[0], last = heap[--heapCount];
    int i = 0;
    for (;;) {
        int c = 2 * i + 1;
        if (c >= heapCount) break;
        if (c + 1 < heapCount && heap[c + 1].due < heap[c].due) c++;
        if (last.due <= heap[c].due) break;
        heap[i] = heap[c];
        i = c;
    }
    heap[i] = last;
    return top;
}

// A frame that TCP has not cut yet stands for its pieces, each with 66 bytes of headers and preamble.
static double wireBits(int size) { return (size + 24.0 + (size > 9100 ? (size / 8900) * 90.0 : 0)) * 8; }

static void carry(int from, int to, const unsigned char *bytes, int size, double left) {
    if (isCut[from] || isCut[to] || (loss > 0 && drand48() < loss)) { lost++; return; }
    double took = rate > 0 ? wireBits(size - headerBytes) / rate : 0;
    double in = left > enters[to] + took ? left : enters[to] + took;
    if (rate > 0 && (in - left) * rate / 8 > roomBytes) { dropped++; return; }
    enters[to] = in;
    Frame f = { in + delay, to, size, malloc(size) };
    memcpy(f.bytes, bytes, size);
    push(f);
}

static void command(char *line) {
    char word[32];
    double value = 0;
    if (sscanf(line, "%31s %lf", word, &value) < 1) return;
    int host = (int)value;
    if (!strcmp(word, "rate")) rate = value;
    else if (!strcmp(word, "delay")) delay = value * 1e-6;
    else if (!strcmp(word, "loss")) loss = value;
    else if (!strcmp(word, "buffer")) roomBytes = value;
    else if (!strcmp(word, "cut") && host >= 0 && host < hosts) isCut[host] = 1;
    else if (!strcmp(word, "heal") && host >= 0 && host < hosts) isCut[host] = 0;
    else if (!strcmp(word, "stats")) {
        fprintf(stderr, "frames %ld, bytes %ld, lost %ld, dropped at full ports %ld\n", frames, carried, lost,
                dropped);
        frames = carried = lost = dropped = 0;
    } else fprintf(stderr, "hostwire: unknown command %s\n", word);
}

int main(int argc, char **argv) {
    if (argc != 3 || (hosts = atoi(argv[1])) < 1 || hosts > most) {
        fprintf(stderr, "usage: hostwire HOSTS FIFO\n");
        return 2;
    }
    prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 0; i < hosts; i++) {
        fds[i] = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
        struct ifreq r = { 0 };
        snprintf(r.ifr_name, IFNAMSIZ, "hw%d", i);
        r.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        unsigned offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
        if (fds[i] < 0 || ioctl(fds[i], TUNSETIFF, &r) || ioctl(fds[i], TUNSETOFFLOAD, offloads)) {
            perror("hostwire: TAP");
            return 1;
        }
    }
    int control = open(argv[2], O_RDWR | O_NONBLOCK);
    if (control < 0) { perror(argv[2]); return 1; }
    static unsigned char bytes[frameBytes];
    static char text[4096];
    int used = 0;
    struct pollfd polled[most + 1];
    for (;;) {
        double t = now();
        while (heapCount && heap[0].due <= t) {
            Frame f = pop();
            frames++;
            carried += f.size;
            if (write(fds[f.to], f.bytes, f.size) < 0 && errno != EAGAIN && errno != EIO) {
                perror("hostwire: write");
            }
            free(f.bytes);
        }
        // A port that is busy for more than two frames longer is not read: its host waits.
        double wake = heapCount ? heap[0].due : t + 1;
        double slack = rate > 0 ? 2 * 65536 * 8 / rate : 1;
        for (int i = 0; i < hosts; i++) {
            polled[i].fd = fds[i];
            polled[i].events = leaves[i] > t + slack ? 0 : POLLIN;
            if (!polled[i].events && leaves[i] - slack < wake) wake = leaves[i] - slack;
        }
        polled[hosts].fd = control;
        polled[hosts].events = POLLIN;
        double left = wake - now();
        struct timespec wait = { 0, 0 };
        if (left > 0) { wait.tv_sec = (long)left; wait.tv_nsec = (long)((left - (long)left) * 1e9); }
        if (ppoll(polled, hosts + 1, &wait, NULL) < 0 && errno != EINTR) { perror("poll"); return 1; }
        if (polled[hosts].revents & POLLIN) {
            int n = read(control, text + used, sizeof text - used - 1);
            if (n > 0) {
                text[used += n] = 0;
                char *end;
                while ((end = strchr(text, '\n'))) {
                    *end = 0;
                    command(text);
                    memmove(text, end + 1, used -= end + 1 - text);
                    text[used] = 0;
                }
            }
        }
        for (int i = 0; i < hosts; i++) {
            if (!(polled[i].revents & POLLIN)) continue;
            for (int k = 0; k < 8; k++) {
                int size = read(fds[i], bytes, sizeof bytes);
                if (size < headerBytes + 14) break;
                t = now();
                double took = rate > 0 ? wireBits(size) / rate : 0;
                leaves[i] = (leaves[i] > t ? leaves[i] : t) + took;
                const unsigned char *target = bytes + headerBytes;
                if (target[0] & 1) {
                    for (int j = 0; j < hosts; j++) if (j != i) carry(i, j, bytes, size, leaves[i]);
                } else if (target[5] < hosts) carry(i, target[5], bytes, size, leaves[i]);
                if (rate > 0 && leaves[i] > t + 2 * 65536 * 8 / rate) break;
            }
        }
    }
}
