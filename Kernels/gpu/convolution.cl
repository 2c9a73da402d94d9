// The image layer, im2col and sums in slots, for devices whose work-groups share local memory. Feature maps
// are convolved by product.cl and winograd.cl. cpu/convolution.cl describes layouts and arguments; those that
// only say what a CPU's work-item takes are not used here.
//
// Macros of the family: QUADS (fours of outputs in a panel), and PIXELS, PIXEL_ITEMS, WEIGHT_ITEMS,
// SLOT_ITEMS, BIAS_LINES, BIAS_COLUMNS, WINDOW_ITEMS and FLIPPED_SIDE, described below.

#include "flags.h"

// Arguments that only the CPU's body reads.
#define UNUSED(argument) (void)(argument)

// Bit 3·ky + kx: whether that neighbour of the pixel lies in the image.
static uint neighbours_inside(const int pixel, const int height, const int width) {
    const int column = pixel % width, row = pixel / width % height;
    const uint in_row = (column > 0 ? 1 : 0) | 2 | (column < width - 1 ? 4 : 0);
    return (row > 0 ? in_row : 0) | in_row << 3 | (row < height - 1 ? in_row << 6 : 0);
}

// A work-item computes four outputs of PIXELS pixels that are PIXEL_ITEMS apart, with every weight it
// reads; a work-group 16 outputs of PIXEL_ITEMS·PIXELS pixels. Global (outputs/4, ⌈pixels / PIXELS⌉), local
// (QUADS, PIXEL_ITEMS).
kernel __attribute__((reqd_work_group_size(QUADS, PIXEL_ITEMS, 1))) void convolution_forward_image(
    global const float4 *restrict x, global const float *restrict weights, global const float *restrict bias,
    global const float *restrict zeros, global float *restrict y, const int batch, const int height,
    const int width, const int outputs, const int pixels_per_item, const int panels_per_item,
    const int flags) {
    UNUSED(zeros), UNUSED(pixels_per_item), UNUSED(panels_per_item);
    const int pixels = batch * height * width, output = get_global_id(0) * 4;
    const int first = get_group_id(1) * PIXEL_ITEMS * PIXELS + get_local_id(1);
    uint inside[PIXELS];
    float4 sum[PIXELS];
#pragma unroll
    for (int i = 0; i < PIXELS; i++) {
        const int pixel = first + i * PIXEL_ITEMS;
        inside[i] = pixel < pixels ? neighbours_inside(pixel, height, width) : 0;
        sum[i] = 0.0f;
    }
    weights += (size_t)(output / 16) * 9 * 4 * 16 + output % 16;
    // Unrolled, the loads of all taps are in flight at once, in up to 407 registers on AMD's GPUs.
#pragma unroll 1
    for (int tap = 0; tap < 9; tap++, weights += 64) {
        global const float4 *source = x + first + (tap / 3 - 1) * width + tap % 3 - 1;
        const float4 red = *(global const float4 *)weights, green = *(global const float4 *)(weights + 16),
                     blue = *(global const float4 *)(weights + 32);
#pragma unroll
        for (int i = 0; i < PIXELS; i++) {
            const float4 value = inside[i] >> tap & 1 ? source[i * PIXEL_ITEMS] : (float4)0.0f;
            sum[i] += value.x * red;
            sum[i] += value.y * green;
            sum[i] += value.z * blue;
        }
    }
    const float4 offset = flags & ADD_BIAS ? *(global const float4 *)(bias + output) : (float4)0.0f;
#pragma unroll
    for (int i = 0; i < PIXELS; i++) {
        const int pixel = first + i * PIXEL_ITEMS;
        float4 value = sum[i] + offset;
        // Not fmax: a NaN must stay one.
        if (flags & RELU) value = value < 0.0f ? (float4)0.0f : value;
        if (pixel < pixels) *(global float4 *)(y + (size_t)pixel * outputs + output) = value;
    }
}

// A work-group sums one slot's image rows for 16 outputs. A work-item sums all 27 weights of four outputs
// over every WEIGHT_ITEMS-th pixel; the WEIGHT_ITEMS sums are then added in a tree, tap by tap. Global
// (outputs/4, WEIGHT_ITEMS, slots), local (QUADS, WEIGHT_ITEMS, 1).
kernel __attribute__((reqd_work_group_size(QUADS, WEIGHT_ITEMS, 1))) void convolution_backward_weights_image(
    global const float4 *restrict x, global const float *restrict dy, global float *restrict slots,
    const int first_row, const int last_row, const int rows_per_slot, const int height, const int width,
    const int outputs, const int accumulate) {
    local float4 tree[WEIGHT_ITEMS][QUADS];
    const int output = get_global_id(0) * 4, lane = get_local_id(0), line = get_local_id(1);
    const int slot_first = first_row + (int)get_global_id(2) * rows_per_slot,
              slot_last = min(last_row, slot_first + rows_per_slot);
    float4 sum[27];
#pragma unroll
    for (int i = 0; i < 27; i++) sum[i] = 0.0f;
    for (int pixel = slot_first * width + line; pixel < slot_last * width; pixel += WEIGHT_ITEMS) {
        const float4 gradient = *(global const float4 *)(dy + (size_t)pixel * outputs + output);
        const uint inside = neighbours_inside(pixel, height, width);
#pragma unroll
        for (int tap = 0; tap < 9; tap++) {
            const float4 value =
                inside >> tap & 1 ? x[pixel + (tap / 3 - 1) * width + tap % 3 - 1] : (float4)0.0f;
            sum[3 * tap] += value.x * gradient;
            sum[3 * tap + 1] += value.y * gradient;
            sum[3 * tap + 2] += value.z * gradient;
        }
    }
    global float *slot = slots + get_global_id(2) * outputs * 36;
    global float *target = slot + (size_t)(output / 16) * 9 * 64 + output % 16;
#pragma unroll
    for (int i = 0; i < 27; i++) {
        tree[line][lane] = sum[i];
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int lines = WEIGHT_ITEMS / 2; lines > 0; lines /= 2) {
            if (line < lines) tree[line][lane] += tree[line + lines][lane];
            barrier(CLK_LOCAL_MEM_FENCE);
        }
        if (line == 0) {
            global float4 *place = (global float4 *)(target + (i / 3 * 4 + i % 3) * 16);
            *place = accumulate ? *place + tree[0][lane] : tree[0][lane];
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    // The fourth lane of an image is always zero.
    if (line < 9) *(global float4 *)(target + (line * 4 + 3) * 16) = (float4)0.0f;
}

// result[i] = slots[0][i] + slots[1][i] + …, i < count, count a multiple of 16. A work-item adds four numbers
// of every L-th slot, L the group's second size, a power of 2; the L sums are then added in a tree. Global
// (count/4, L), local (SLOT_ITEMS / L, L), or (64, 1).
kernel void reduce_slots(
    global const float4 *restrict slots, global float4 *restrict result, const int slot_count,
    const int count, const int panels_per_item) {
    local float4 tree[SLOT_ITEMS];
    UNUSED(panels_per_item);
    const int i = get_global_id(0), line = get_local_id(1), lines = get_local_size(1);
    const int place = line * get_local_size(0) + get_local_id(0);
    float4 sum = 0.0f;
    if (4 * i < count)
        for (int slot = line; slot < slot_count; slot += lines) sum += slots[(size_t)slot * (count / 4) + i];
    tree[place] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int half_count = lines / 2; half_count > 0; half_count /= 2) {
        if (line < half_count) tree[place] += tree[place + half_count * get_local_size(0)];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (line == 0 && 4 * i < count) result[i] = tree[place];
}

// First stage of the bias' gradient. A work-item masks and adds four channels of every BIAS_LINES-th pixel
// of a slot; the BIAS_LINES sums are then added in a tree. Global (channels/4, BIAS_LINES·slots), local
// (BIAS_COLUMNS, BIAS_LINES).
kernel __attribute__((reqd_work_group_size(BIAS_COLUMNS, BIAS_LINES, 1))) void bias_backward(
    global float *restrict dy, global const float *restrict y, global float *restrict slots, const int pixels,
    const int channels, const int pixels_per_slot, const int mask) {
    local float4 tree[BIAS_LINES][BIAS_COLUMNS];
    const int channel = get_global_id(0) * 4, lane = get_local_id(0), line = get_local_id(1);
    const int slot = get_group_id(1), first = slot * pixels_per_slot;
    const int last = min(pixels, first + pixels_per_slot);
    float4 sum = 0.0f;
    if (channel < channels) {
        for (int pixel = first + line; pixel < last; pixel += BIAS_LINES) {
            global float4 *gradient = (global float4 *)(dy + (size_t)pixel * channels + channel);
            float4 value = *gradient;
            if (mask) {
                const float4 output = *(global const float4 *)(y + (size_t)pixel * channels + channel);
                value = select((float4)0.0f, value, output > 0.0f);
                *gradient = value;
            }
            sum += value;
        }
    }
    tree[line][lane] = sum;
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int lines = BIAS_LINES / 2; lines > 0; lines /= 2) {
        if (line < lines) tree[line][lane] += tree[line + lines][lane];
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    if (line == 0 && channel < channels)
        *(global float4 *)(slots + (size_t)slot * channels + channel) = tree[0][lane];
}

// columns[p][3][3][channels] = the neighbourhood of pixel first_pixel + p, zero outside the image. A
// work-item writes four numbers. Global (9·channels/4, pixels), local (WINDOW_ITEMS, 1).
kernel __attribute__((reqd_work_group_size(WINDOW_ITEMS, 1, 1))) void im2col(
    global const float4 *restrict x, global float4 *restrict columns, const int first_pixel, const int pixels,
    const int height, const int width, const int channels, const int pixels_per_item) {
    UNUSED(pixels), UNUSED(pixels_per_item);
    const int quads = channels / 4, place = get_global_id(0), row = get_global_id(1);
    if (place >= 9 * quads) return;
    const int tap = place / quads, pixel = first_pixel + row;
    const uint inside = neighbours_inside(pixel, height, width);
    const long source = ((long)pixel + (tap / 3 - 1) * width + tap % 3 - 1) * quads + place % quads;
    columns[(size_t)row * 9 * quads + place] = inside >> tap & 1 ? x[source] : (float4)0.0f;
}

// The weights of backward-data, turned by 180 degrees, inputs and outputs exchanged. A work-group transposes
// FLIPPED_SIDE × FLIPPED_SIDE weights of one tap, a panel of each. Global (inputs, FLIPPED_SIDE·9,
// outputs/FLIPPED_SIDE), local (FLIPPED_SIDE, FLIPPED_SIDE, 1). Intel's compiler for CPUs crashes on the same
// with 256 work-items in one line.
kernel __attribute__((reqd_work_group_size(FLIPPED_SIDE, FLIPPED_SIDE, 1))) void convolution_flip_weights(
    global const float *restrict weights, global float *restrict flipped, const int inputs,
    const int outputs) {
    local float tile[FLIPPED_SIDE][FLIPPED_SIDE + 1];
    const int input_panel = get_group_id(0), tap = get_group_id(1), output_panel = get_group_id(2);
    const int lane = get_local_id(0), line = get_local_id(1);
    const size_t source = (size_t)(output_panel * 9 + tap) * inputs + input_panel * 16;
    tile[line][lane] = weights[(source + line) * 16 + lane];
    barrier(CLK_LOCAL_MEM_FENCE);
    const size_t target = (size_t)(input_panel * 9 + 8 - tap) * outputs + output_panel * 16;
    flipped[(target + line) * 16 + lane] = tile[lane][line];
}
