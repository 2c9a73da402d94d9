#include "cmpi.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The constants of Open MPI's ABI that are numbers.
enum { thread_multiple = 3, type_shared = 0, mode_nocheck = 1 };

// Every function that is called: its name behind "MPI_", its parameters.
#define FUNCTIONS(F) \
    F(Init_thread, (int *, char ***, int, int *)) \
    F(Finalize, (void)) \
    F(Abort, (cmpi_comm, int)) \
    F(Error_string, (int, char *, int *)) \
    F(Get_library_version, (char *, int *)) \
    F(Comm_rank, (cmpi_comm, int *)) \
    F(Comm_size, (cmpi_comm, int *)) \
    F(Comm_split, (cmpi_comm, int, int, cmpi_comm *)) \
    F(Comm_split_type, (cmpi_comm, int, int, void *, cmpi_comm *)) \
    F(Comm_set_errhandler, (cmpi_comm, void *)) \
    F(Isend, (const void *, int, void *, int, int, cmpi_comm, cmpi_request *)) \
    F(Irecv, (void *, int, void *, int, int, cmpi_comm, cmpi_request *)) \
    F(Test, (cmpi_request *, int *, void *)) \
    F(Testsome, (int, cmpi_request *, int *, int *, void *)) \
    F(Cancel, (cmpi_request *)) \
    F(Request_free, (cmpi_request *)) \
    F(Win_allocate, (ptrdiff_t, int, void *, cmpi_comm, void *, cmpi_window *)) \
    F(Win_allocate_shared, (ptrdiff_t, int, void *, cmpi_comm, void *, cmpi_window *)) \
    F(Win_shared_query, (cmpi_window, int, ptrdiff_t *, int *, void *)) \
    F(Win_set_errhandler, (cmpi_window, void *)) \
    F(Win_lock_all, (int, cmpi_window)) \
    F(Win_unlock_all, (cmpi_window)) \
    F(Win_flush, (int, cmpi_window)) \
    F(Win_sync, (cmpi_window)) \
    F(Win_free, (cmpi_window *)) \
    F(Put, (const void *, int, void *, int, ptrdiff_t, int, void *, cmpi_window)) \
    F(Accumulate, (const void *, int, void *, int, ptrdiff_t, int, void *, void *, cmpi_window)) \
    F(Allreduce, (const void *, void *, int, void *, void *, cmpi_comm)) \
    F(Iallreduce, (const void *, void *, int, void *, void *, cmpi_comm, cmpi_request *)) \
    F(Iprobe, (int, int, cmpi_comm, int *, void *))

// Every constant that is an address in the library.
#define OBJECTS(O) \
    O(comm_world, "ompi_mpi_comm_world") \
    O(info_null, "ompi_mpi_info_null") \
    O(errors_return, "ompi_mpi_errors_return") \
    O(byte_type, "ompi_mpi_byte") \
    O(float_type, "ompi_mpi_float") \
    O(uint64_type, "ompi_mpi_uint64_t") \
    O(sum, "ompi_mpi_op_sum") \
    O(replace, "ompi_mpi_op_replace")

static struct {
#define F(name, parameters) int(*name) parameters;
    FUNCTIONS(F)
#undef F
#define O(name, symbol) void *name;
    OBJECTS(O)
#undef O
} mpi;

const char *cmpi_open(void) {
    static char problem[1024];
    // One connection with three fragments under way leaves a part of a 1 Gb/s link unused. What the user has
    // set, also by mpirun's --mca, is in the environment already.
    setenv("OMPI_MCA_btl_tcp_links", "4", 0);
    setenv("OMPI_MCA_pml_ob1_send_pipeline_depth", "16", 0);
    // The plugins of Open MPI look its symbols up among the global ones.
    void *library = NULL;
    static const char *const names[] = {"libmpi.so.40", "libmpi.so"};
    for (size_t i = 0; library == NULL && i < sizeof names / sizeof *names; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_GLOBAL);
    if (library == NULL) {
        snprintf(problem, sizeof problem, "%s", dlerror());
        return problem;
    }
#define F(name, parameters) \
    *(void **)&mpi.name = dlsym(library, "MPI_" #name); \
    if (mpi.name == NULL) return "MPI_" #name " is missing in it";
    FUNCTIONS(F)
#undef F
#define O(name, symbol) \
    mpi.name = dlsym(library, symbol); \
    if (mpi.name == NULL) return "it is not Open MPI: " symbol " is missing in it";
    OBJECTS(O)
#undef O
    return NULL;
}

void cmpi_error(int code, char *text) {
    int length = 0;
    if (mpi.Error_string(code, text, &length) != 0) snprintf(text, 256, "MPI error %d", code);
}

// Open MPI maps files in /dev/shm without reserving their memory.
static void on_bus_error(int number) {
    static const char text[] =
        "error: memory that the ranks share was not there when it was used: /dev/shm is full, or a file that "
        "was being read has been shortened\n";
    (void)number;
    const ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
    (void)written;
    _exit(1);
}

int cmpi_init(int *provided) {
    int level = 0;
    signal(SIGBUS, on_bus_error);
    const int code = mpi.Init_thread(NULL, NULL, thread_multiple, &level);
    *provided = level >= thread_multiple;
    return code != 0 ? code : mpi.Comm_set_errhandler(mpi.comm_world, mpi.errors_return);
}

int cmpi_finalize(void) { return mpi.Finalize(); }
void cmpi_abort(int status) { mpi.Abort(mpi.comm_world, status); }

cmpi_comm cmpi_world(void) { return mpi.comm_world; }
int cmpi_rank(cmpi_comm comm, int *rank) { return mpi.Comm_rank(comm, rank); }
int cmpi_size(cmpi_comm comm, int *size) { return mpi.Comm_size(comm, size); }

int cmpi_split_node(cmpi_comm comm, cmpi_comm *result) {
    return mpi.Comm_split_type(comm, type_shared, 0, mpi.info_null, result);
}

int cmpi_split(cmpi_comm comm, int color, int key, cmpi_comm *result) {
    return mpi.Comm_split(comm, color, key, result);
}

int cmpi_send(const void *data, int byte_count, int peer, int tag, cmpi_comm comm, cmpi_request *request) {
    return mpi.Isend(data, byte_count, mpi.byte_type, peer, tag, comm, request);
}

int cmpi_receive(void *data, int byte_count, int peer, int tag, cmpi_comm comm, cmpi_request *request) {
    return mpi.Irecv(data, byte_count, mpi.byte_type, peer, tag, comm, request);
}

int cmpi_test(cmpi_request *request, int *done) { return mpi.Test(request, done, NULL); }

int cmpi_test_some(int count, cmpi_request *requests, int *done_count, int *done) {
    return mpi.Testsome(count, requests, done_count, done, NULL);
}

int cmpi_cancel(cmpi_request *request) {
    const int code = mpi.Cancel(request);
    return code != 0 ? code : mpi.Request_free(request);
}

int cmpi_window_allocate(int shared, size_t byte_count, cmpi_comm comm, void **memory, cmpi_window *window) {
    int (*allocate)(ptrdiff_t, int, void *, cmpi_comm, void *, cmpi_window *) =
        shared ? mpi.Win_allocate_shared : mpi.Win_allocate;
    int code = allocate((ptrdiff_t)byte_count, 1, mpi.info_null, comm, memory, window);
    if (code == 0) code = mpi.Win_set_errhandler(*window, mpi.errors_return);
    return code != 0 ? code : mpi.Win_lock_all(mode_nocheck, *window);
}

int cmpi_window_shared_memory(cmpi_window window, int peer, void **memory) {
    ptrdiff_t size = 0;
    int unit = 0;
    return mpi.Win_shared_query(window, peer, &size, &unit, memory);
}

int cmpi_put(const void *data, int byte_count, int peer, size_t offset, cmpi_window window) {
    const ptrdiff_t place = (ptrdiff_t)offset;
    return mpi.Put(data, byte_count, mpi.byte_type, peer, place, byte_count, mpi.byte_type, window);
}

int cmpi_put_number(const uint64_t *value, int peer, size_t offset, cmpi_window window) {
    const ptrdiff_t place = (ptrdiff_t)offset;
    return mpi.Accumulate(
        value, 1, mpi.uint64_type, peer, place, 1, mpi.uint64_type, mpi.replace, window);
}

int cmpi_flush(int peer, cmpi_window window) { return mpi.Win_flush(peer, window); }

int cmpi_synchronize(cmpi_window window) {
    // A probe runs the library's progress, which receives what others put here if the network does not.
    int flag = 0;
    const int code = mpi.Win_sync(window);
    return code != 0 ? code : mpi.Iprobe(-1, -1, mpi.comm_world, &flag, NULL);
}

int cmpi_window_free(cmpi_window *window) {
    const int code = mpi.Win_unlock_all(*window);
    return code != 0 ? code : mpi.Win_free(window);
}

int cmpi_allreduce_sum(const float *values, float *sums, int count, cmpi_comm comm) {
    return mpi.Allreduce(values, sums, count, mpi.float_type, mpi.sum, comm);
}

int cmpi_iallreduce_sum(const float *values, float *sums, int count, cmpi_comm comm, cmpi_request *request) {
    return mpi.Iallreduce(values, sums, count, mpi.float_type, mpi.sum, comm, request);
}

uint64_t cmpi_load_acquire(const void *place) {
    return __atomic_load_n((const uint64_t *)place, __ATOMIC_ACQUIRE);
}

void cmpi_store_release(void *place, uint64_t value) {
    __atomic_store_n((uint64_t *)place, value, __ATOMIC_RELEASE);
}
