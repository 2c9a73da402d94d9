// Stochastic gradient descent with momentum, and the sums that micro-batches and clipping need, for devices
// that run a work-item on a CPU core. optimizer.h has the updates.
//
// Tuning macro: CHUNK, elements whose squares one work-item of sum_of_squares adds up; fixed, so that every
// CPU adds in the same order. optimizer.h has the macros of the updates.

#include "optimizer.h"

// partial[first + i] ← Σ values² over the i-th chunk of `count` values from `begin` on; both are multiples
// of 8. Launch: global (chunks), local (1).
kernel void sum_of_squares(
    const global float *restrict values, global float *restrict partial, const ulong begin, const ulong count,
    const ulong first) {
    const size_t start = get_global_id(0) * CHUNK;
    if (start >= count) return;
    const size_t end = min(start + CHUNK, (size_t)count);
    float8 sum = 0;
    for (size_t i = start; i < end; i += 8) {
        const float8 value = vload8(0, values + begin + i);
        sum = fma(value, value, sum);
    }
    const float4 half_sum = sum.lo + sum.hi;
    partial[first + get_global_id(0)] = (half_sum.x + half_sum.y) + (half_sum.z + half_sum.w);
}

// Sets the gradients' scale from the norm √Σ partial. One work-item. Launch: global (1), local (1).
kernel void gradient_scale(
    global float4 *restrict totals, const int place, const global float *restrict partial,
    const ulong partials, const float largestNorm, global float *restrict gradientScale) {
    // Volatile: one CPU runtime would add in an order of its own otherwise.
    volatile float sum = 0;
    for (ulong i = 0; i < partials; i++) sum += partial[i];
    set_gradient_scale(totals, place, sum, largestNorm, gradientScale);
}
