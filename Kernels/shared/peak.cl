// The arithmetic that a device can do at most: nothing but multiply-adds on registers, as the yardstick of
// `trainer bench layers`.
//
// Tuning macros:
//   VECTOR  floats in a register, 8 or 16
//   SUMS    vectors in flight: they fit the registers, and are more than the latency of a multiply-add times
//           the number of those that begin in a cycle

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
