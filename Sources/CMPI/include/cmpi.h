// Opens Open MPI at run time, so that one program runs under mpirun, without it, and without any MPI.
//
// Handles, constants and functions are those of Open MPI's ABI (versions 1.10 to 5), which Debian's
// libopenmpi has. They are declared here because mpi.h's constants are addresses inside the library, which
// would have to be linked. Functions return MPI's error code, 0 for success. Only cmpi_open may be called
// before it has succeeded.
#pragma once

#include <stddef.h>
#include <stdint.h>

typedef void *cmpi_comm;
typedef void *cmpi_request;
typedef void *cmpi_window;

// Opens libmpi. Returns null, or why it cannot be used (valid until the next call).
const char *cmpi_open(void);
// Writes what an error code means into `text` of 256 bytes.
void cmpi_error(int code, char *text);

// Starts MPI for calls from several threads; `provided` is 1 if the library allows that.
int cmpi_init(int *provided);
int cmpi_finalize(void);
// Ends all ranks of the job.
void cmpi_abort(int status);

cmpi_comm cmpi_world(void);
int cmpi_rank(cmpi_comm comm, int *rank);
int cmpi_size(cmpi_comm comm, int *size);
// Returns the ranks of `comm` that share memory.
int cmpi_split_node(cmpi_comm comm, cmpi_comm *result);
// Returns the ranks of `comm` with the same color, in the order of their keys.
int cmpi_split(cmpi_comm comm, int color, int key, cmpi_comm *result);

int cmpi_send(const void *data, int byte_count, int peer, int tag, cmpi_comm comm, cmpi_request *request);
int cmpi_receive(void *data, int byte_count, int peer, int tag, cmpi_comm comm, cmpi_request *request);
// Sets `done` once the request is complete, which ends it.
int cmpi_test(cmpi_request *request, int *done);
// Sets the first `done_count` of `done` to the indices of requests that are complete, which ends them.
int cmpi_test_some(int count, cmpi_request *requests, int *done_count, int *done);
// Forgets a receive.
int cmpi_cancel(cmpi_request *request);

// Opens a window of `byte_count` bytes on each rank to all others until it is freed; if `shared`, in memory
// that all ranks of `comm` share.
int cmpi_window_allocate(int shared, size_t byte_count, cmpi_comm comm, void **memory, cmpi_window *window);
// Finds `peer`'s part of a shared window in this process.
int cmpi_window_shared_memory(cmpi_window window, int peer, void **memory);
int cmpi_put(const void *data, int byte_count, int peer, size_t offset, cmpi_window window);
// Puts one number atomically, after what was flushed before it.
int cmpi_put_number(const uint64_t *value, int peer, size_t offset, cmpi_window window);
// Waits until everything that was put to `peer` is there.
int cmpi_flush(int peer, cmpi_window window);
// Makes what others have put visible here, and drives the library.
int cmpi_synchronize(cmpi_window window);
int cmpi_window_free(cmpi_window *window);

int cmpi_allreduce_sum(const float *values, float *sums, int count, cmpi_comm comm);
int cmpi_iallreduce_sum(const float *values, float *sums, int count, cmpi_comm comm, cmpi_request *request);

// Read and write memory that other processes or threads use too.
uint64_t cmpi_load_acquire(const void *place);
void cmpi_store_release(void *place, uint64_t value);
