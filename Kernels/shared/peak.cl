// What a device can do at most, as the yardstick of `trainer bench layers`: multiply-adds on registers, and
// reading and writing its memory.
//
// Tuning macros:
//   VECTOR  floats in a register, 8 or 16
//   SUMS    vectors in flight: they fit the registers, and are more than the latency of a multiply-add times
//           the number of those that begin in a cycle
// Macro of the family: IS_INTERLEAVED, 1 on GPUs, where neighbouring work-items access neighbouring vectors;
// 0 on CPUs, where each work-item has a contiguous block.

#include "stream.h"
#include "vector.h"

// A work-item: `iterations` · SUMS · VECTOR multiply-adds; result [items][VECTOR] keeps the compiler from
// leaving them out. Global (items), local (1, or 256 on GPUs).
kernel void multiply_add(
    global float *restrict result, const int iterations, const float factor) {
    vector sum[SUMS];
    _Pragma("unroll") for (int j = 0; j < SUMS; j++) sum[j] = (float)(get_global_id(0) + j);
    for (int i = 0; i < iterations; i++) {
        _Pragma("unroll") for (int j = 0; j < SUMS; j++) sum[j] = sum[j] * factor + 1.0f;
    }
    vector total = 0;
    _Pragma("unroll") for (int j = 0; j < SUMS; j++) total += sum[j];
    STORE(total, result + get_global_id(0) * VECTOR);
}

// Returns the index of the first float of a work-item's vector i.
size_t vector_place(const int i, const int vectors) {
#if IS_INTERLEAVED
    (void)vectors;
    return ((size_t)i * get_global_size(0) + get_global_id(0)) * VECTOR;
#else
    return ((size_t)get_global_id(0) * vectors + i) * VECTOR;
#endif
}

// A work-item adds up `vectors` vectors, a multiple of 8. It stores the sum, so that the compiler keeps the
// reads. Nothing checks bounds: the range is exact. Global (items), local (1, or 256 on GPUs).
//
// On CPUs it reads four runs side by side: two cores of an AMD EPYC (Zen 2) then read 34 instead of 30 GB/s.
kernel void read_values(global const float *restrict values, global float *restrict sums, const int vectors) {
    vector sum[2] = {(vector)0, (vector)0};
#if IS_INTERLEAVED
    for (int i = 0; i < vectors; i += 2) {
        sum[0] += LOAD(values + vector_place(i, vectors));
        sum[1] += LOAD(values + vector_place(i + 1, vectors));
    }
#else
    for (int i = 0; i < vectors / 4; i += 2) {
        _Pragma("unroll") for (int run = 0; run < 4; run++) {
            const int first = run * (vectors / 4) + i;
            sum[0] += LOAD(values + vector_place(first, vectors));
            sum[1] += LOAD(values + vector_place(first + 1, vectors));
        }
    }
#endif
    sum[0] += sum[1];
    float total = 0;
    for (int i = 0; i < VECTOR; i++) total += ((private const float *)sum)[i];
    sums[get_global_id(0)] = total;
}

// A work-item writes `vectors` vectors. Launched like `read_values`.
kernel void write_values(global float *restrict values, const float value, const int vectors) {
    for (int i = 0; i < vectors; i++) {
        global vector *target = (global vector *)(values + vector_place(i, vectors));
#if IS_INTERLEAVED
        *target = value;
#else
        STREAM_STORE((vector)value, target);
#endif
    }
}
