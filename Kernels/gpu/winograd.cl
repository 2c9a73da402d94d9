// Winograd's convolution for devices whose work-groups share local memory. The transforms are in winograd.h,
// the products are those of product.cl, and cpu/winograd.cl describes algorithm and layouts.
//
// Tuning macros: OUTPUT_TILE (4 or 2), LANES (1, 2 or 4), TRANSFORM_TILES (tiles that a work-group
// transforms). Macro of the family: BIAS_ITEMS, work-items that add a bias' gradient.

// Whether a product and a sum become one operation must not depend on LANES.
#pragma OPENCL FP_CONTRACT OFF

#define TILE_GROUP TRANSFORM_TILES
#include "winograd.h"

// db (+)= the sum over the chunk's tiles of the last plane of D. A work-group: 16 channels; a work-item adds
// every BIAS_ITEMS/4-th row of four of them, then the work-items' sums are added in a tree. Global
// (BIAS_ITEMS·channels/16), local (BIAS_ITEMS).
kernel __attribute__((reqd_work_group_size(BIAS_ITEMS, 1, 1))) void winograd_reduce_bias(
    global const float *transformed, global float *biasGradient, int channels, int rows, int accumulate) {
    local float4 sums[BIAS_ITEMS];
    const int item = get_local_id(0), panel = get_group_id(0);
    global const float *plane = transformed + POSITIONS * plane_size(channels, rows);
    global const float4 *source = (global const float4 *)(plane + (size_t)panel * rows * 16);
    float4 sum = 0.0f;
    for (int i = item; i < rows * 4; i += BIAS_ITEMS) sum += source[i];
    sums[item] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_count = BIAS_ITEMS / 2; half_count >= 4; half_count /= 2) {
        if (item < half_count) sums[item] += sums[item + half_count];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (item < 4) {
        global float4 *target = (global float4 *)(biasGradient + panel * 16) + item;
        *target = accumulate ? *target + sums[item] : sums[item];
    }
}
