// Stochastic gradient descent with momentum, and the sums that micro-batches and clipping need, for devices
// whose work-groups share local memory. optimizer.h has the updates.
//
// Tuning macro: CHUNK, elements whose squares one work-group of sum_of_squares adds up. Macro of the family:
// GROUP_ITEMS, the work-items of a group.

#include "optimizer.h"

// Returns the sum of the work-group's GROUP_ITEMS values, added in a tree.
static float sum_of_group(const float value, local float *tree) {
    const int item = get_local_id(0);
    tree[item] = value;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_count = GROUP_ITEMS / 2; half_count > 0; half_count /= 2) {
        if (item < half_count) tree[item] += tree[item + half_count];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    return tree[0];
}

// partial[first + i] ← Σ values² over the i-th chunk of `count` values from `begin` on.
// Launch: global (GROUP_ITEMS·chunks), local (GROUP_ITEMS).
kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1))) void sum_of_squares(
    const global float *restrict values, global float *restrict partial, const ulong begin, const ulong count,
    const ulong first) {
    local float tree[GROUP_ITEMS];
    const size_t start = get_group_id(0) * CHUNK, end = min(start + CHUNK, (size_t)count);
    float sum = 0;
    for (size_t i = begin + start + get_local_id(0); i < begin + end; i += GROUP_ITEMS)
        sum = fma(values[i], values[i], sum);
    sum = sum_of_group(sum, tree);
    if (get_local_id(0) == 0) partial[first + get_group_id(0)] = sum;
}

// Sets the gradients' scale from the norm √Σ partial. One work-group. Launch: global and
// local (GROUP_ITEMS).
kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1))) void gradient_scale(
    global float4 *restrict totals, const int place, const global float *restrict partial,
    const ulong partials, const float largestNorm, global float *restrict gradientScale) {
    local float tree[GROUP_ITEMS];
    float sum = 0;
    for (ulong i = get_local_id(0); i < partials; i += GROUP_ITEMS) sum += partial[i];
    sum = sum_of_group(sum, tree);
    if (get_local_id(0) == 0) set_gradient_scale(totals, place, sum, largestNorm, gradientScale);
}
