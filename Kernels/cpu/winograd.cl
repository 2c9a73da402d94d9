// Winograd convolution 3×3, stride 1, padding 1: forward, backward-data and backward-weights, for channels in
// multiples of 16.
//
// Source: Lavin and Gray, "Fast algorithms for convolutional neural networks" (CVPR 2016). An output tile of
// OUTPUT_TILE² pixels comes from an input tile of INPUT_TILE² = (OUTPUT_TILE + 2)² pixels:
// Y = Aᵀ [ Σ_c (G w Gᵀ) ⊙ (Bᵀ x B) ] A. The sum over channels is one matrix product for each of the
// INPUT_TILE² positions, with 4 (OUTPUT_TILE 4) or 2.25 (OUTPUT_TILE 2) times fewer multiplications than the
// direct sum. F(4) interpolates at 0, ±1/√2, ±√2, ∞: the squares ½ and 2 are exact, and the error is a
// quarter of that of the usual 0, ±1, ±2, ∞.
//
// Tile (image·tileRows + tileRow)·tileColumns + tileColumn, tileRows = ⌈height / OUTPUT_TILE⌉, covers output
// rows from tileRow·OUTPUT_TILE; tiles may overhang the image. The host walks over chunks of about 256 tiles
// (576 for OUTPUT_TILE 2), so that the transformed tiles stay in the last-level cache while each transformed
// filter read serves many tiles. `rows` is the chunk's tile count rounded up to TILE_GROUP; the rows added
// are zero.
//   activations  [N][height][width][channels], channels a multiple of 16
//   parameters   [K/16][3][3][C][16]: position (ky, kx, c) of filter k at panel k/16, lane k%16
//   U, dU        [INPUT_TILE²][K/16][C][16]: transformed filters (backward-data: [INPUT_TILE²][C/16][K][16],
//                turned by 180°)
//   V, M, D      [INPUT_TILE²] planes [channels/16][rows][16], each followed by PLANE_GAP unused floats, so
//                that planes do not collide in a cache. D has one plane more: the sum of dY over each tile,
//                from which the bias gradient comes
// Forward:          transform_weights; per chunk transform_input, multiply, transform_output.
// Backward-data:    transform_weights_transposed; per chunk the same three with dY in place of x, C and K
//                   exchanged.
// Backward-weights: per chunk transform_input (x), transform_gradient (dY), multiply_weights (on GPUs
//                   products and reduce_bias); transform_weights_gradient at the end.
// All sums run in an order fixed by the shape and the chunk size.
//
// `winograd_convolve` runs transform_input, multiply and transform_output in one launch, with the same bits.
// It is the faster one while inputChannels·outputChannels ≤ 128², where all that a block of tiles needs stays
// in a core's own cache; above, the transformed filters would be read too often.
//
// The transforms are in winograd.h.
//
// Tuning macros:
//   OUTPUT_TILE      4 or 2: the algorithm
//   LANES            see winograd.h
//   TILE_GROUP       tiles that a work-group transforms; a multiple of MULTIPLY_ROWS
//   MULTIPLY_ROWS    `multiply`: rows of the register tile (by 16 columns)
//   MULTIPLY_BLOCKS  `multiply`: row blocks that a work-item takes one after the other
//   MULTIPLY_DEPTH   `multiply`: input channels that it takes for all its rows before the next ones, so that
//                    this part of U stays in a core's first cache; a multiple of 16
//   BLOCK_ROWS       `convolve`: tiles in flight; a multiple of MULTIPLY_ROWS
//   WEIGHTS_ROWS     `multiply_weights`: largest number of rows of the register tile (by 16 columns)

#include "fetch.h"
#include "stream.h"

#define ON_CPU 1
#define FETCH_AHEAD(pointer) FETCH(pointer, 2)

#include "winograd.h"

#if OUTPUT_TILE == 4
// Convolutions whose output is pooled, with even heights and widths: the gradient behind the pooling and the
// ReLU is made in registers from the layer's output y, and never written.

// Two columns of a tile's gradient, LANES channels: those of `windows` windows one below the other, the first
// at (row, column) of the windows; windows outside the map give zeros.
static inline __attribute__((always_inline)) void unpool_columns(
    global const float *gradient, global const float *y, int windows, bool used, int image, int row,
    int column, int height, int width, int channels, int channel, long ahead, long aheadPooled, lanes *left,
    lanes *right) {
    const int rows = height / 2, columns = width / 2;
#pragma unroll
    for (int i = 0; i < windows; i++) {
        left[2 * i] = left[2 * i + 1] = right[2 * i] = right[2 * i + 1] = 0.0f;
        if (!used || (uint)(row + i) >= (uint)rows || (uint)column >= (uint)columns) continue;
        global const float *top =
            y + (((size_t)image * height + 2 * (row + i)) * width + 2 * column) * channels + channel;
        global const float *bottom = top + (size_t)width * channels;
        global const float *behind =
            gradient + (((size_t)image * rows + row + i) * columns + column) * channels + channel;
        FETCH_AHEAD(top + ahead);
        FETCH_AHEAD(top + channels + ahead);
        FETCH_AHEAD(bottom + ahead);
        FETCH_AHEAD(bottom + channels + ahead);
        FETCH_AHEAD(behind + aheadPooled);
        const lanes window[4] = {
            *(global const lanes *)top, *(global const lanes *)(top + channels),
            *(global const lanes *)bottom, *(global const lanes *)(bottom + channels)};
        lanes gradients[4];
        send_through_relu(*(global const lanes *)behind, window, gradients);
        left[2 * i] = gradients[0];
        right[2 * i] = gradients[1];
        left[2 * i + 1] = gradients[2];
        right[2 * i + 1] = gradients[3];
    }
}

// As `transform_input_tile`, of the gradient behind a pooling.
static inline __attribute__((always_inline)) void transform_pooled_tile(
    global const float *gradient, global const float *y, global float *target, size_t plane, int height,
    int width, int channels, int channel, int tile, int step, bool used) {
    const place at = place_of_tile(tile, height, width);
    const long ahead = distance_ahead(tile, step, height, width, channels, channel, 1),
               aheadPooled = distance_ahead(tile, step, height, width, channels, channel, 2);
#pragma nounroll
    for (int lane = 0; lane < CHANNELS_PER_ITEM; lane += LANES) {
        lanes columns[POSITIONS];
        // The tile starts at an odd corner: of 4×4 windows, whose 8×8 pixels lose their rim.
#pragma unroll
        for (int j = 0; j < 4; j++) {
            lanes left[8], right[8];
            unpool_columns(
                gradient, y, 4, used, at.image, at.top / 2 - 1, at.left / 2 - 1 + j, height, width, channels,
                channel + lane, ahead, aheadPooled, left, right);
            if (j > 0) input_transform(left + 1, 1, columns + 2 * j - 1, INPUT_TILE);
            if (j < 3) input_transform(right + 1, 1, columns + 2 * j, INPUT_TILE);
        }
        store_input_tile(columns, target + lane, plane);
    }
}

// V of the gradient behind a pooling: `winograd_transform_input` for backward-data. Launched like it.
kernel __attribute__((reqd_work_group_size(1, TILE_GROUP, 1))) void winograd_transform_pooled(
    global const float *gradient, global const float *y, global float *transformed, int height, int width,
    int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * 16, row = get_global_id(1), rows = get_global_size(1);
    transform_pooled_tile(
        gradient, y, transformed + place_in_plane(channel, row, rows), plane_size(channels, rows), height,
        width, channels, channel, firstTile + row, TILE_GROUP, row < tileCount);
}

// D of the gradient behind a pooling, as `winograd_transform_gradient`. Launched like it.
kernel __attribute__((reqd_work_group_size(1, TILE_GROUP, 1))) void winograd_transform_pooled_gradient(
    global const float *gradient, global const float *y, global float *transformed, int height, int width,
    int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * 16, row = get_global_id(1), rows = get_global_size(1);
    const int tile = firstTile + row;
    const place at = place_of_tile(tile, height, width);
    const long ahead = distance_ahead(tile, TILE_GROUP, height, width, channels, channel, 1),
               aheadPooled = distance_ahead(tile, TILE_GROUP, height, width, channels, channel, 2);
    const size_t plane = plane_size(channels, rows);
    transformed += place_in_plane(channel, row, rows);
#pragma nounroll
    for (int lane = 0; lane < CHANNELS_PER_ITEM; lane += LANES) {
        lanes columns[INPUT_TILE * OUTPUT_TILE], sum = 0.0f;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            lanes left[OUTPUT_TILE], right[OUTPUT_TILE];
            unpool_columns(
                gradient, y, 2, row < tileCount, at.image, at.top / 2, at.left / 2 + j, height, width,
                channels, channel + lane, ahead, aheadPooled, left, right);
#pragma unroll
            for (int i = 0; i < OUTPUT_TILE; i++) sum += left[i];
#pragma unroll
            for (int i = 0; i < OUTPUT_TILE; i++) sum += right[i];
            gradient_transform(left, 1, columns + 2 * j, OUTPUT_TILE);
            gradient_transform(right, 1, columns + 2 * j + 1, OUTPUT_TILE);
        }
        store_gradient_tile(columns, sum, transformed + lane, plane);
    }
}

// `winograd_transform_output` with bias and ReLU, and the pooling behind them. Launched like it.
kernel __attribute__((reqd_work_group_size(1, TILE_GROUP, 1))) void winograd_transform_output_pooled(
    global const float *transformed, global float *y, global const float *bias, int flags,
    global float *pooled, int height, int width, int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * 16, row = get_global_id(1), rows = get_global_size(1);
    const int tile = firstTile + row;
    if (row >= tileCount) return;
    transform_output_tile(
        transformed + place_in_plane(channel, row, rows), plane_size(channels, rows), bias, y,
        flags & WITH_STREAM, 0, pooled, height, width, channels, channel, tile, TILE_GROUP);
}
#endif

// MULTIPLY_ROWS rows by 16 columns of a product over `depth` input channels. If it `continues`, the sums
// start from what `product` holds, else from 0. `a` is the first row in its first panel, the panels are
// `panelStride` floats apart; `b` is a panel of U.
void multiply_tile(
    global const float *a, size_t panelStride, global const float *b, global float *product, int depth,
    bool continues) {
    float16 sum[MULTIPLY_ROWS];
#pragma unroll
    for (int i = 0; i < MULTIPLY_ROWS; i++)
        sum[i] = continues ? *(global const float16 *)(product + i * 16) : (float16)0.0f;
    for (int block = 0; block < depth; block += 16) {
#pragma unroll
        for (int i = 0; i < MULTIPLY_ROWS; i++) FETCH(a + panelStride + i * 16, 1);
#pragma unroll 4
        for (int c = 0; c < 16; c++) {
            // LLVM gives a function registers of 16 floats only if it calls a builtin with a float16.
            const float16 line = vload16(0, b + c * 16);
#pragma unroll
            for (int i = 0; i < MULTIPLY_ROWS; i++) sum[i] += a[i * 16 + c] * line;
        }
        a += panelStride;
        b += 256;
    }
#pragma unroll
    for (int i = 0; i < MULTIPLY_ROWS; i++) *(global float16 *)(product + i * 16) = sum[i];
}

// M = V U for every position. A work-item: MULTIPLY_BLOCKS · MULTIPLY_ROWS rows of 16 output channels,
// MULTIPLY_DEPTH input channels at a time. Global (⌈rows / (MULTIPLY_ROWS·MULTIPLY_BLOCKS)⌉,
// outputChannels/16, POSITIONS), local (1, 1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void winograd_multiply(
    global const float *input, global const float *weights, global float *output, int inputChannels,
    int outputChannels, int rows) {
    const int panel = get_global_id(1), position = get_global_id(2);
    const int first = get_global_id(0) * MULTIPLY_ROWS * MULTIPLY_BLOCKS,
              end = min(first + MULTIPLY_ROWS * MULTIPLY_BLOCKS, rows);
    input += position * plane_size(inputChannels, rows);
    weights += ((size_t)position * (outputChannels / 16) + panel) * inputChannels * 16;
    output += position * plane_size(outputChannels, rows) + (size_t)panel * rows * 16;
    for (int channel = 0; channel < inputChannels; channel += MULTIPLY_DEPTH) {
        const int depth = min(MULTIPLY_DEPTH, inputChannels - channel);
        for (int row = first; row < end; row += MULTIPLY_ROWS)
            multiply_tile(
                input + (size_t)channel * rows + row * 16, (size_t)rows * 16, weights + channel * 16,
                output + row * 16, depth, channel > 0);
    }
}

// Forward or backward-data in one launch, for few channels: V of BLOCK_ROWS tiles and M of 16 output channels
// stay in a core's own cache. A work-item: blocks of BLOCK_ROWS tiles, one after the other, through one slot
// of `workspace`; a slot has
// POSITIONS·(plane(inputChannels, BLOCK_ROWS) + plane(16, BLOCK_ROWS)) floats. Global (slots), local (1).
// Flags as in the single steps. `masked` 2: x is the gradient behind a pooling of `mask`. With `poolsOutput`
// 1, the output is pooled to `pooled`, and the flags include WITH_BIAS. Otherwise `pooled` may be any buffer.
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void winograd_convolve(
    global const float *x, global const float *mask, int masked, global const float *weights,
    global float *workspace, global float *y, global const float *bias, int flags, global float *pooled,
    int poolsOutput, int height, int width, int inputChannels, int outputChannels, int tiles) {
    const size_t plane = plane_size(inputChannels, BLOCK_ROWS), productPlane = plane_size(16, BLOCK_ROWS);
    global float *input = workspace + get_global_id(0) * POSITIONS * (plane + productPlane),
                 *product = input + POSITIONS * plane;
    const int item = get_global_id(0), slots = get_global_size(0);
    const long blocks = (tiles + BLOCK_ROWS - 1) / BLOCK_ROWS;
    for (int block = item * blocks / slots; block < (item + 1) * blocks / slots; block++) {
        const int firstTile = block * BLOCK_ROWS;
        for (int panel = 0; panel < inputChannels / 16; panel++) {
            for (int row = 0; row < BLOCK_ROWS; row++) {
#if OUTPUT_TILE == 4
                if (masked == 2) {
                    transform_pooled_tile(
                        x, mask, input + (panel * BLOCK_ROWS + row) * 16, plane, height, width, inputChannels,
                        panel * 16, firstTile + row, BLOCK_ROWS, firstTile + row < tiles);
                    continue;
                }
#endif
                transform_input_tile(
                    x, mask, input + (panel * BLOCK_ROWS + row) * 16, plane, height, width, inputChannels,
                    panel * 16, firstTile + row, BLOCK_ROWS, firstTile + row < tiles, masked);
            }
        }
        for (int panel = 0; panel < outputChannels / 16; panel++) {
            for (int position = 0; position < POSITIONS; position++) {
                global const float *u =
                    weights + ((size_t)position * (outputChannels / 16) + panel) * inputChannels * 16;
                for (int row = 0; row < BLOCK_ROWS; row += MULTIPLY_ROWS)
                    multiply_tile(
                        input + position * plane + row * 16, BLOCK_ROWS * 16, u,
                        product + position * productPlane + row * 16, inputChannels, false);
            }
            for (int row = 0; row < min(BLOCK_ROWS, tiles - firstTile); row++) {
                if (poolsOutput)
                    transform_output_tile(
                        product + row * 16, productPlane, bias, y, flags & WITH_STREAM, 0, pooled, height,
                        width, outputChannels, panel * 16, firstTile + row, BLOCK_ROWS);
                else
                    transform_output_tile(
                        product + row * 16, productPlane, flags & WITH_BIAS ? bias : 0, y,
                        flags & WITH_STREAM, flags & WITH_MASK ? bias : 0, 0, height, width, outputChannels,
                        panel * 16, firstTile + row, BLOCK_ROWS);
            }
        }
    }
}

// `count` input by 16 output channels of dU (+)= Vᵀ D. After inlining and unrolling, `count` is a constant.
static inline __attribute__((always_inline)) void multiply_weights_tile(
    const int count, global const float *input, global const float *gradient, global float *weightsGradient,
    int rows, int accumulate) {
    float16 sum[WEIGHTS_ROWS];
#pragma unroll
    for (int i = 0; i < WEIGHTS_ROWS; i++) sum[i] = 0.0f;
#pragma unroll 4
    for (int row = 0; row < rows; row++) {
        const float16 line = *(global const float16 *)(gradient + row * 16);
#pragma unroll
        for (int i = 0; i < WEIGHTS_ROWS; i++) {
            if (i < count) sum[i] += input[row * 16 + i] * line;
        }
    }
#pragma unroll
    for (int i = 0; i < WEIGHTS_ROWS; i++) {
        global float16 *target = (global float16 *)(weightsGradient + i * 16);
        if (i < count) *target = accumulate ? *target + sum[i] : sum[i];
    }
}

// Register tiles for the 16 rows of a panel, as even as they can be: 5, 5 and 6 rows for WEIGHTS_ROWS 6.
#define WEIGHTS_TILES ((16 + WEIGHTS_ROWS - 1) / WEIGHTS_ROWS)
#define FIRST_ROW(tile) (16 * (tile) / WEIGHTS_TILES)

// dU (+)= Vᵀ D for every position, over the rows of one chunk, and db (+)= the sum of the last plane of D. A
// work-item: 16 input by 16 output channels. Global (inputChannels/16, outputChannels/16, POSITIONS), local
// (1, 1, 1). `accumulate` 0 for the first chunk.
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void winograd_multiply_weights(
    global const float *input, global const float *gradient, global float *weightsGradient,
    global float *biasGradient, int inputChannels, int outputChannels, int rows, int accumulate) {
    const int channel = get_global_id(0) * 16, panel = get_global_id(1), position = get_global_id(2);
    const size_t plane = plane_size(outputChannels, rows);
    input += position * plane_size(inputChannels, rows) + (size_t)channel * rows;
    gradient += (size_t)panel * rows * 16;
    if (channel == 0 && position == 0) {
        global const float16 *source = (global const float16 *)(gradient + POSITIONS * plane);
        global float16 *target = (global float16 *)biasGradient + panel;
        float16 sum = 0.0f;
        for (int row = 0; row < rows; row++) sum += source[row];
        *target = accumulate ? *target + sum : sum;
    }
    gradient += position * plane;
    weightsGradient += (((size_t)position * (outputChannels / 16) + panel) * inputChannels + channel) * 16;
#pragma unroll
    for (int tile = 0; tile < WEIGHTS_TILES; tile++)
        multiply_weights_tile(
            FIRST_ROW(tile + 1) - FIRST_ROW(tile), input + FIRST_ROW(tile), gradient,
            weightsGradient + FIRST_ROW(tile) * 16, rows, accumulate);
}
