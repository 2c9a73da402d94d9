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
//   V, M, D      [INPUT_TILE²] planes [channels/16][rows][16], each followed by 16 unused floats, so that
//                planes do not collide in a cache. D has one plane more: the sum of dY over each tile, from
//                which the bias gradient comes
// Forward:          transform_weights; per chunk transform_input, multiply, transform_output.
// Backward-data:    transform_weights_transposed; per chunk the same three with dY in place of x, C and K
//                   exchanged.
// Backward-weights: per chunk transform_input (x), transform_gradient (dY), multiply_weights, reduce_bias;
//                   transform_weights_gradient at the end.
// All sums run in an order fixed by the shape and the chunk size.
//
// `winograd_convolve` runs transform_input, multiply and transform_output in one launch, with the same bits.
// It is the faster one while inputChannels·outputChannels ≤ 128², where all that a block of tiles needs stays
// in a core's own cache; above, the transformed filters would be read too often.
//
// Tuning macros:
//   OUTPUT_TILE      4 or 2: the algorithm
//   TILE_GROUP       tiles that a work-group transforms; a multiple of MULTIPLY_ROWS
//   MULTIPLY_ROWS    `multiply`: rows of the register tile (by 16 columns)
//   MULTIPLY_BLOCKS  `multiply`: row blocks that a work-item takes one after the other
//   BLOCK_ROWS       `convolve`: tiles in flight; a multiple of MULTIPLY_ROWS
//   WEIGHTS_ROWS     `multiply_weights`: rows of the register tile (by 16 columns); divides 16

#define INPUT_TILE (OUTPUT_TILE + 2)
#define POSITIONS (INPUT_TILE * INPUT_TILE)

#if OUTPUT_TILE == 4
#define ROOT_HALF 0.70710678118654752f
#define ROOT_TWO 1.41421356237309505f
#endif

size_t plane_size(int channels, int rows) { return (size_t)channels * rows + 16; }

// One dimension of each transform. `s` is the distance between the elements read, `t` between those written.

// Bᵀ: rows are the coefficients of ∏(x − p) over the points other than the row's own.
void input_transform(const float16 *d, int s, float16 *v, int t) {
#if OUTPUT_TILE == 4
    const float16 evenHalf = d[4 * s] - 2.0f * d[2 * s], oddHalf = ROOT_HALF * (d[3 * s] - 2.0f * d[s]);
    const float16 evenTwo = d[4 * s] - 0.5f * d[2 * s], oddTwo = ROOT_TWO * (d[3 * s] - 0.5f * d[s]);
    v[0] = d[0] + (d[4 * s] - 2.5f * d[2 * s]);
    v[t] = evenHalf + oddHalf;
    v[2 * t] = evenHalf - oddHalf;
    v[3 * t] = evenTwo + oddTwo;
    v[4 * t] = evenTwo - oddTwo;
    v[5 * t] = d[s] + (d[5 * s] - 2.5f * d[3 * s]);
#else
    v[0] = d[0] - d[2 * s];
    v[t] = d[2 * s] + d[s];
    v[2 * t] = d[2 * s] - d[s];
    v[3 * t] = d[3 * s] - d[s];
#endif
}

// Aᵀ: powers of the points.
void output_transform(const float16 *m, int s, float16 *y, int t) {
#if OUTPUT_TILE == 4
    const float16 sumHalf = m[s] + m[2 * s], differenceHalf = ROOT_HALF * (m[s] - m[2 * s]);
    const float16 sumTwo = m[3 * s] + m[4 * s], differenceTwo = ROOT_TWO * (m[3 * s] - m[4 * s]);
    y[0] = m[0] + (sumHalf + sumTwo);
    y[t] = differenceHalf + differenceTwo;
    y[2 * t] = 0.5f * sumHalf + 2.0f * sumTwo;
    y[3 * t] = m[5 * s] + (0.5f * differenceHalf + 2.0f * differenceTwo);
#else
    y[0] = m[0] + (m[s] + m[2 * s]);
    y[t] = m[3 * s] + (m[s] - m[2 * s]);
#endif
}

// A, the transpose of `output_transform`.
void gradient_transform(const float16 *y, int s, float16 *d, int t) {
#if OUTPUT_TILE == 4
    const float16 evenHalf = y[0] + 0.5f * y[2 * s], oddHalf = ROOT_HALF * (y[s] + 0.5f * y[3 * s]);
    const float16 evenTwo = y[0] + 2.0f * y[2 * s], oddTwo = ROOT_TWO * (y[s] + 2.0f * y[3 * s]);
    d[0] = y[0];
    d[t] = evenHalf + oddHalf;
    d[2 * t] = evenHalf - oddHalf;
    d[3 * t] = evenTwo + oddTwo;
    d[4 * t] = evenTwo - oddTwo;
    d[5 * t] = y[3 * s];
#else
    d[0] = y[0];
    d[t] = y[0] + y[s];
    d[2 * t] = y[0] - y[s];
    d[3 * t] = y[s];
#endif
}

// G: the powers of each point over ∏(p − q), q the other points.
void weights_transform(const float16 *w, int s, float16 *u, int t) {
#if OUTPUT_TILE == 4
    const float16 evenHalf = (-2.0f / 3.0f) * (w[0] + 0.5f * w[2 * s]),
                  oddHalf = (-2.0f / 3.0f * ROOT_HALF) * w[s];
    const float16 evenTwo = (1.0f / 6.0f) * (w[0] + 2.0f * w[2 * s]),
                  oddTwo = (1.0f / 6.0f * ROOT_TWO) * w[s];
    u[0] = w[0];
    u[t] = evenHalf + oddHalf;
    u[2 * t] = evenHalf - oddHalf;
    u[3 * t] = evenTwo + oddTwo;
    u[4 * t] = evenTwo - oddTwo;
    u[5 * t] = w[2 * s];
#else
    const float16 even = 0.5f * (w[0] + w[2 * s]), odd = 0.5f * w[s];
    u[0] = w[0];
    u[t] = even + odd;
    u[2 * t] = even - odd;
    u[3 * t] = w[2 * s];
#endif
}

// Gᵀ, the transpose of `weights_transform`.
void weights_gradient_transform(const float16 *u, int s, float16 *w, int t) {
#if OUTPUT_TILE == 4
    const float16 sumHalf = (-2.0f / 3.0f) * (u[s] + u[2 * s]),
                  differenceHalf = (-2.0f / 3.0f * ROOT_HALF) * (u[s] - u[2 * s]);
    const float16 sumTwo = (1.0f / 6.0f) * (u[3 * s] + u[4 * s]),
                  differenceTwo = (1.0f / 6.0f * ROOT_TWO) * (u[3 * s] - u[4 * s]);
    w[0] = u[0] + (sumHalf + sumTwo);
    w[t] = differenceHalf + differenceTwo;
    w[2 * t] = u[5 * s] + (0.5f * sumHalf + 2.0f * sumTwo);
#else
    const float16 sum = 0.5f * (u[s] + u[2 * s]);
    w[0] = u[0] + sum;
    w[t] = 0.5f * (u[s] - u[2 * s]);
    w[2 * t] = u[3 * s] + sum;
#endif
}

// Transforms both dimensions of a filter and stores it at `u`, a position every `stride` floats.
void store_transformed_weights(const float16 *w, global float *u, size_t stride) {
    float16 columns[3 * INPUT_TILE], row[INPUT_TILE];
#pragma unroll
    for (int j = 0; j < 3; j++) weights_transform(w + j, 3, columns + j, 3);
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        weights_transform(columns + 3 * i, 1, row, 1);
#pragma unroll
        for (int j = 0; j < INPUT_TILE; j++) *(global float16 *)(u + (i * INPUT_TILE + j) * stride) = row[j];
    }
}

// U = G w Gᵀ for forward. A work-item: one input channel of 16 filters. Global (C, K/16), local (16, 1).
kernel __attribute__((reqd_work_group_size(16, 1, 1))) void winograd_transform_weights(
    global const float *weights, global float *transformed, int inputChannels, int outputChannels) {
    const int channel = get_global_id(0), panel = get_global_id(1);
    global const float *source = weights + ((size_t)panel * 9 * inputChannels + channel) * 16;
    float16 w[9];
#pragma unroll
    for (int i = 0; i < 9; i++) w[i] = *(global const float16 *)(source + (size_t)i * inputChannels * 16);
    store_transformed_weights(
        w, transformed + ((size_t)panel * inputChannels + channel) * 16,
        (size_t)inputChannels * outputChannels);
}

// U = G w Gᵀ for backward-data: filters turned by 180°, channels exchanged. A work-item: one filter of 16
// input channels. Global (K, C/16), local (16, 1): the work-group's items share the cache lines they gather
// from.
kernel __attribute__((reqd_work_group_size(16, 1, 1))) void winograd_transform_weights_transposed(
    global const float *weights, global float *transformed, int inputChannels, int outputChannels) {
    const int filter = get_global_id(0), panel = get_global_id(1);
    global const float *source =
        weights + ((size_t)(filter / 16) * 9 * inputChannels + panel * 16) * 16 + filter % 16;
    float16 w[9];
#pragma unroll
    for (int i = 0; i < 9; i++) {
        global const float *s = source + (size_t)(8 - i) * inputChannels * 16;
        w[i] = (float16)(s[0], s[16], s[32], s[48], s[64], s[80], s[96], s[112], s[128], s[144], s[160],
            s[176], s[192], s[208], s[224], s[240]);
    }
    store_transformed_weights(
        w, transformed + ((size_t)panel * outputChannels + filter) * 16,
        (size_t)inputChannels * outputChannels);
}

// Where a tile lies: its image and the first row and column of its output.
typedef struct {
    int image, top, left;
} place;

place place_of_tile(int tile, int height, int width) {
    const int tileRows = (height + OUTPUT_TILE - 1) / OUTPUT_TILE,
              tileColumns = (width + OUTPUT_TILE - 1) / OUTPUT_TILE;
    const int line = tile / tileColumns;
    const place result = {
        line / tileRows, line % tileRows * OUTPUT_TILE, (tile - line * tileColumns) * OUTPUT_TILE};
    return result;
}

// Stores at `target`, a position every `plane` floats, Bᵀ x B of the tile whose output starts at `at`; zero
// if it is not `used`.
void transform_input_tile(
    global const float *x, global const float *mask, global float *target, size_t plane, int height,
    int width, int channels, int panel, place at, bool used, bool masked) {
    const int top = at.top - 1, left = at.left - 1;
    const long origin = (((long)at.image * height + top) * width + left) * channels + panel * 16;
    float16 columns[POSITIONS], line[INPUT_TILE];
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
        const bool columnInside = used && left + j >= 0 && left + j < width;
#pragma unroll
        for (int i = 0; i < INPUT_TILE; i++) {
            line[i] = 0.0f;
            if (columnInside && top + i >= 0 && top + i < height) {
                const long offset = origin + ((long)i * width + j) * channels;
                line[i] = *(global const float16 *)(x + offset);
                if (masked)
                    line[i] = select((float16)0.0f, line[i], *(global const float16 *)(mask + offset) > 0.0f);
            }
        }
        input_transform(line, 1, columns + j, INPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        input_transform(columns + i * INPUT_TILE, 1, line, 1);
#pragma unroll
        for (int j = 0; j < INPUT_TILE; j++)
            *(global float16 *)(target + (i * INPUT_TILE + j) * plane) = line[j];
    }
}

// MULTIPLY_ROWS rows by 16 columns of a product over `depth` input channels. `a` is the first row in its
// first panel, the panels are `panelStride` floats apart; `b` is a panel of U.
void multiply_tile(
    global const float *a, size_t panelStride, global const float *b, global float *product, int depth) {
    float16 sum[MULTIPLY_ROWS];
#pragma unroll
    for (int i = 0; i < MULTIPLY_ROWS; i++) sum[i] = 0.0f;
    for (int block = 0; block < depth; block += 16) {
#pragma unroll 4
        for (int c = 0; c < 16; c++) {
            const float16 line = *(global const float16 *)(b + c * 16);
#pragma unroll
            for (int i = 0; i < MULTIPLY_ROWS; i++) sum[i] += a[i * 16 + c] * line;
        }
        a += panelStride;
        b += 256;
    }
#pragma unroll
    for (int i = 0; i < MULTIPLY_ROWS; i++) *(global float16 *)(product + i * 16) = sum[i];
}

// Stores in y the tile Aᵀ M A + offset, M read at `source`, a position every `plane` floats; values below
// `lowest` become `lowest`.
void transform_output_tile(
    global const float *source, size_t plane, float16 offset, float16 lowest, global float *y, int height,
    int width, int channels, int panel, place at) {
    global float *target =
        y + (((size_t)at.image * height + at.top) * width + at.left) * channels + panel * 16;
    float16 columns[OUTPUT_TILE * INPUT_TILE], line[INPUT_TILE], result[OUTPUT_TILE];
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
#pragma unroll
        for (int i = 0; i < INPUT_TILE; i++)
            line[i] = *(global const float16 *)(source + (i * INPUT_TILE + j) * plane);
        output_transform(line, 1, columns + j, INPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < OUTPUT_TILE; i++) {
        output_transform(columns + i * INPUT_TILE, 1, result, 1);
        if (at.top + i < height) {
#pragma unroll
            for (int j = 0; j < OUTPUT_TILE; j++) {
                // Not fmax: a NaN must stay one.
                const float16 value = result[j] + offset;
                if (at.left + j < width)
                    *(global float16 *)(target + ((size_t)i * width + j) * channels) =
                        value < lowest ? lowest : value;
            }
        }
    }
}

// V = Bᵀ x B. A work-item: one tile of 16 channels. Global (channels/16, rows), local (1, TILE_GROUP).
// With `masked` 1 an element of x counts only where that of `mask` (same shape) is above 0: the gradient of a
// ReLU whose output is `mask`. Tiles from `firstTile` on; rows from `tileCount` on become zero. Without a
// mask pass x for it.
kernel __attribute__((reqd_work_group_size(1, TILE_GROUP, 1))) void winograd_transform_input(
    global const float *x, global const float *mask, int masked, global float *transformed, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int panel = get_global_id(0), row = get_global_id(1), rows = get_global_size(1);
    transform_input_tile(
        x, mask, transformed + ((size_t)panel * rows + row) * 16, plane_size(channels, rows), height, width,
        channels, panel, place_of_tile(firstTile + row, height, width), row < tileCount, masked);
}

// D = A dY Aᵀ, and the sum of each tile of dY as the last plane. A work-item: one tile of 16 channels. Global
// (channels/16, rows), local (1, TILE_GROUP). `mask`, `masked`, `firstTile` and `tileCount` as in
// `winograd_transform_input`.
kernel __attribute__((reqd_work_group_size(1, TILE_GROUP, 1))) void winograd_transform_gradient(
    global const float *gradient, global const float *mask, int masked, global float *transformed, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int panel = get_global_id(0), row = get_global_id(1), rows = get_global_size(1);
    const place at = place_of_tile(firstTile + row, height, width);
    const bool used = row < tileCount;
    const long origin = (((long)at.image * height + at.top) * width + at.left) * channels + panel * 16;
    const size_t plane = plane_size(channels, rows);
    global float *target = transformed + ((size_t)panel * rows + row) * 16;

    float16 columns[INPUT_TILE * OUTPUT_TILE], line[INPUT_TILE], sum = 0.0f;
#pragma unroll
    for (int j = 0; j < OUTPUT_TILE; j++) {
        const bool columnInside = used && at.left + j < width;
#pragma unroll
        for (int i = 0; i < OUTPUT_TILE; i++) {
            line[i] = 0.0f;
            if (columnInside && at.top + i < height) {
                const long offset = origin + ((long)i * width + j) * channels;
                line[i] = *(global const float16 *)(gradient + offset);
                if (masked)
                    line[i] = select((float16)0.0f, line[i], *(global const float16 *)(mask + offset) > 0.0f);
            }
            sum += line[i];
        }
        gradient_transform(line, 1, columns + j, OUTPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        gradient_transform(columns + i * OUTPUT_TILE, 1, line, 1);
#pragma unroll
        for (int j = 0; j < INPUT_TILE; j++)
            *(global float16 *)(target + (i * INPUT_TILE + j) * plane) = line[j];
    }
    *(global float16 *)(target + POSITIONS * plane) = sum;
}

// M = V U for every position. A work-item: MULTIPLY_BLOCKS times MULTIPLY_ROWS rows of 16 output channels,
// the panel of U staying in the cache. Global (⌈rows / (MULTIPLY_ROWS·MULTIPLY_BLOCKS)⌉, outputChannels/16,
// POSITIONS), local (1, 1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void winograd_multiply(
    global const float *input, global const float *weights, global float *output, int inputChannels,
    int outputChannels, int rows) {
    const int panel = get_global_id(1), position = get_global_id(2);
    const int first = get_global_id(0) * MULTIPLY_ROWS * MULTIPLY_BLOCKS,
              end = min(first + MULTIPLY_ROWS * MULTIPLY_BLOCKS, rows);
    input += position * plane_size(inputChannels, rows);
    weights += ((size_t)position * (outputChannels / 16) + panel) * inputChannels * 16;
    output += position * plane_size(outputChannels, rows) + (size_t)panel * rows * 16;
    for (int row = first; row < end; row += MULTIPLY_ROWS)
        multiply_tile(input + row * 16, (size_t)rows * 16, weights, output + row * 16, inputChannels);
}

// Y = Aᵀ M A; if `biased` is 1, plus the bias, then ReLU. A work-item: one tile of 16 channels.
// Global (channels/16, rows), local (1, TILE_GROUP). Pass any buffer for a bias that is not used.
kernel __attribute__((reqd_work_group_size(1, TILE_GROUP, 1))) void winograd_transform_output(
    global const float *transformed, global float *y, global const float *bias, int biased, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int panel = get_global_id(0), row = get_global_id(1), rows = get_global_size(1);
    if (row >= tileCount) return;
    const float16 offset = biased ? *(global const float16 *)(bias + panel * 16) : (float16)0.0f;
    transform_output_tile(
        transformed + ((size_t)panel * rows + row) * 16, plane_size(channels, rows), offset,
        biased ? 0.0f : -INFINITY, y, height, width, channels, panel,
        place_of_tile(firstTile + row, height, width));
}

// Forward or backward-data in one launch, for few channels: V of BLOCK_ROWS tiles and M of 16 output channels
// stay in a core's own cache. A work-item: blocks of BLOCK_ROWS tiles, one after the other, through one slot
// of `workspace`; a slot has
// POSITIONS·(plane(inputChannels, BLOCK_ROWS) + plane(16, BLOCK_ROWS)) floats. Global (slots), local (1).
// Flags as in the single steps.
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void winograd_convolve(
    global const float *x, global const float *mask, int masked, global const float *weights,
    global float *workspace, global float *y, global const float *bias, int biased, int height, int width,
    int inputChannels, int outputChannels, int tiles) {
    const size_t plane = plane_size(inputChannels, BLOCK_ROWS), productPlane = plane_size(16, BLOCK_ROWS);
    global float *input = workspace + get_global_id(0) * POSITIONS * (plane + productPlane),
                 *product = input + POSITIONS * plane;
    const int blocks = (tiles + BLOCK_ROWS - 1) / BLOCK_ROWS, slots = get_global_size(0),
              share = (blocks + slots - 1) / slots;
    const int first = get_global_id(0) * share, end = min(first + share, blocks);
    for (int block = first; block < end; block++) {
        const int firstTile = block * BLOCK_ROWS;
        for (int panel = 0; panel < inputChannels / 16; panel++) {
            for (int row = 0; row < BLOCK_ROWS; row++) {
                transform_input_tile(
                    x, mask, input + (panel * BLOCK_ROWS + row) * 16, plane, height, width, inputChannels,
                    panel, place_of_tile(firstTile + row, height, width), firstTile + row < tiles, masked);
            }
        }
        for (int panel = 0; panel < outputChannels / 16; panel++) {
            for (int position = 0; position < POSITIONS; position++) {
                global const float *u =
                    weights + ((size_t)position * (outputChannels / 16) + panel) * inputChannels * 16;
                for (int row = 0; row < BLOCK_ROWS; row += MULTIPLY_ROWS)
                    multiply_tile(
                        input + position * plane + row * 16, BLOCK_ROWS * 16, u,
                        product + position * productPlane + row * 16, inputChannels);
            }
            const float16 offset = biased ? *(global const float16 *)(bias + panel * 16) : (float16)0.0f;
            for (int row = 0; row < min(BLOCK_ROWS, tiles - firstTile); row++) {
                transform_output_tile(
                    product + row * 16, productPlane, offset, biased ? 0.0f : -INFINITY, y, height, width,
                    outputChannels, panel, place_of_tile(firstTile + row, height, width));
            }
        }
    }
}

// dU (+)= Vᵀ D for every position, over the rows of one chunk. A work-item: WEIGHTS_ROWS input by 16 output
// channels. Global (inputChannels/WEIGHTS_ROWS, outputChannels/16, POSITIONS), local (1, 1, 1). `accumulate`
// 0 for the first chunk.
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void winograd_multiply_weights(
    global const float *input, global const float *gradient, global float *weightsGradient, int inputChannels,
    int outputChannels, int rows, int accumulate) {
    const int channel = get_global_id(0) * WEIGHTS_ROWS, panel = get_global_id(1),
              position = get_global_id(2);
    input += position * plane_size(inputChannels, rows) + (size_t)(channel / 16) * rows * 16 + channel % 16;
    gradient += position * plane_size(outputChannels, rows) + (size_t)panel * rows * 16;
    weightsGradient += (((size_t)position * (outputChannels / 16) + panel) * inputChannels + channel) * 16;
    float16 sum[WEIGHTS_ROWS];
#pragma unroll
    for (int i = 0; i < WEIGHTS_ROWS; i++) sum[i] = 0.0f;
#pragma unroll 4
    for (int row = 0; row < rows; row++) {
        const float16 line = *(global const float16 *)(gradient + row * 16);
#pragma unroll
        for (int i = 0; i < WEIGHTS_ROWS; i++) sum[i] += input[row * 16 + i] * line;
    }
#pragma unroll
    for (int i = 0; i < WEIGHTS_ROWS; i++) {
        global float16 *target = (global float16 *)(weightsGradient + i * 16);
        *target = accumulate ? *target + sum[i] : sum[i];
    }
}

// dW = Gᵀ dU G. A work-item: one input channel of 16 filters. Global (C, K/16), local (16, 1).
kernel __attribute__((reqd_work_group_size(16, 1, 1))) void winograd_transform_weights_gradient(
    global const float *transformed, global float *weightsGradient, int inputChannels, int outputChannels) {
    const int channel = get_global_id(0), panel = get_global_id(1);
    const size_t plane = (size_t)inputChannels * outputChannels;
    global const float *source = transformed + ((size_t)panel * inputChannels + channel) * 16;
    global float *target = weightsGradient + ((size_t)panel * 9 * inputChannels + channel) * 16;
    float16 columns[3 * INPUT_TILE], line[INPUT_TILE];
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
#pragma unroll
        for (int i = 0; i < INPUT_TILE; i++)
            line[i] = *(global const float16 *)(source + (i * INPUT_TILE + j) * plane);
        weights_gradient_transform(line, 1, columns + j, INPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < 3; i++) {
        weights_gradient_transform(columns + i * INPUT_TILE, 1, line, 1);
#pragma unroll
        for (int j = 0; j < 3; j++)
            *(global float16 *)(target + (size_t)(i * 3 + j) * inputChannels * 16) = line[j];
    }
}

// db (+)= the sum over the chunk's tiles of the last plane of D. A work-item: 16 channels. Global
// (channels/16), local (1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void winograd_reduce_bias(
    global const float *transformed, global float *biasGradient, int channels, int rows, int accumulate) {
    const int panel = get_global_id(0);
    global const float16 *source =
        (global const float16 *)(transformed + POSITIONS * plane_size(channels, rows)) + (size_t)panel * rows;
    global float16 *target = (global float16 *)biasGradient + panel;
    float16 sum = 0.0f;
    for (int row = 0; row < rows; row++) sum += source[row];
    *target = accumulate ? *target + sum : sum;
}
