// The transforms of Winograd's convolution, for winograd.cl of both bodies; cpu/winograd.cl has the layouts.
//
// A work-item takes LANES channels: 16 on a CPU, a panel, and 1, 2 or 4 of a panel's on a GPU, so that
// neighbouring work-items read and write neighbouring floats. LANES changes no result.
//
// Macros of the family: ITEMS_PER_PANEL (work-items that take a panel of 16 together), WEIGHT_LINES (channels
// or filters whose weights a work-group transforms) and PLANE_GAP (unused floats behind a plane).

#if LANES == 1
typedef float lanes;
#elif LANES == 2
typedef float2 lanes;
#elif LANES == 4
typedef float4 lanes;
#else
typedef float16 lanes;
#endif
#if ITEMS_PER_PANEL * LANES != 16
#error ITEMS_PER_PANEL does not fit LANES
#endif
#define WEIGHTS_GROUP (WEIGHT_LINES * ITEMS_PER_PANEL)

// A CPU's body defines these two.
#ifndef FETCH_NEXT_PANEL
#define FETCH_NEXT_PANEL(pointer)
#endif
#ifndef STREAM_STORE
#define STREAM_STORE(value, pointer) *(pointer) = (value)
#endif

// Bits of the flags of what is written.
#define WITH_BIAS 1  // adds a bias, then ReLU
#if LANES == 16
#define WITH_STREAM 2  // writes past the cache
#define WITH_MASK 4    // becomes 0 where a mask, in the bias' place, is not above 0
#else
#define WITH_STREAM 0
#define WITH_MASK 0
#endif

#define INPUT_TILE (OUTPUT_TILE + 2)
#define POSITIONS (INPUT_TILE * INPUT_TILE)

#if OUTPUT_TILE == 4
#define ROOT_HALF 0.70710678118654752f
#define ROOT_TWO 1.41421356237309505f
#endif

size_t plane_size(int channels, int rows) { return (size_t)channels * rows + PLANE_GAP; }

// One dimension of each transform. `s` is the distance between the elements read, `t` between those written.

// Bᵀ: rows are the coefficients of ∏(x − p) over the points other than the row's own.
void input_transform(const lanes *d, int s, lanes *v, int t) {
#if OUTPUT_TILE == 4
    const lanes evenHalf = d[4 * s] - 2.0f * d[2 * s], oddHalf = ROOT_HALF * (d[3 * s] - 2.0f * d[s]);
    const lanes evenTwo = d[4 * s] - 0.5f * d[2 * s], oddTwo = ROOT_TWO * (d[3 * s] - 0.5f * d[s]);
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
void output_transform(const lanes *m, int s, lanes *y, int t) {
#if OUTPUT_TILE == 4
    const lanes sumHalf = m[s] + m[2 * s], differenceHalf = ROOT_HALF * (m[s] - m[2 * s]);
    const lanes sumTwo = m[3 * s] + m[4 * s], differenceTwo = ROOT_TWO * (m[3 * s] - m[4 * s]);
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
void gradient_transform(const lanes *y, int s, lanes *d, int t) {
#if OUTPUT_TILE == 4
    const lanes evenHalf = y[0] + 0.5f * y[2 * s], oddHalf = ROOT_HALF * (y[s] + 0.5f * y[3 * s]);
    const lanes evenTwo = y[0] + 2.0f * y[2 * s], oddTwo = ROOT_TWO * (y[s] + 2.0f * y[3 * s]);
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
void weights_transform(const lanes *w, int s, lanes *u, int t) {
#if OUTPUT_TILE == 4
    const lanes evenHalf = (-2.0f / 3.0f) * (w[0] + 0.5f * w[2 * s]),
                  oddHalf = (-2.0f / 3.0f * ROOT_HALF) * w[s];
    const lanes evenTwo = (1.0f / 6.0f) * (w[0] + 2.0f * w[2 * s]),
                  oddTwo = (1.0f / 6.0f * ROOT_TWO) * w[s];
    u[0] = w[0];
    u[t] = evenHalf + oddHalf;
    u[2 * t] = evenHalf - oddHalf;
    u[3 * t] = evenTwo + oddTwo;
    u[4 * t] = evenTwo - oddTwo;
    u[5 * t] = w[2 * s];
#else
    const lanes even = 0.5f * (w[0] + w[2 * s]), odd = 0.5f * w[s];
    u[0] = w[0];
    u[t] = even + odd;
    u[2 * t] = even - odd;
    u[3 * t] = w[2 * s];
#endif
}

// Gᵀ, the transpose of `weights_transform`.
void weights_gradient_transform(const lanes *u, int s, lanes *w, int t) {
#if OUTPUT_TILE == 4
    const lanes sumHalf = (-2.0f / 3.0f) * (u[s] + u[2 * s]),
                  differenceHalf = (-2.0f / 3.0f * ROOT_HALF) * (u[s] - u[2 * s]);
    const lanes sumTwo = (1.0f / 6.0f) * (u[3 * s] + u[4 * s]),
                  differenceTwo = (1.0f / 6.0f * ROOT_TWO) * (u[3 * s] - u[4 * s]);
    w[0] = u[0] + (sumHalf + sumTwo);
    w[t] = differenceHalf + differenceTwo;
    w[2 * t] = u[5 * s] + (0.5f * sumHalf + 2.0f * sumTwo);
#else
    const lanes sum = 0.5f * (u[s] + u[2 * s]);
    w[0] = u[0] + sum;
    w[t] = 0.5f * (u[s] - u[2 * s]);
    w[2 * t] = u[3 * s] + sum;
#endif
}

// Transforms both dimensions of a filter and stores it at `u`, a position every `stride` floats.
void store_transformed_weights(const lanes *w, global float *u, size_t stride) {
    lanes columns[3 * INPUT_TILE], row[INPUT_TILE];
#pragma unroll
    for (int j = 0; j < 3; j++) weights_transform(w + j, 3, columns + j, 3);
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        weights_transform(columns + 3 * i, 1, row, 1);
#pragma unroll
        for (int j = 0; j < INPUT_TILE; j++) *(global lanes *)(u + (i * INPUT_TILE + j) * stride) = row[j];
    }
}

// U = G w Gᵀ for forward. A work-item: one input channel of LANES filters. Global (C·ITEMS_PER_PANEL, K/16),
// local (WEIGHTS_GROUP, 1).
kernel __attribute__((reqd_work_group_size(WEIGHTS_GROUP, 1, 1))) void winograd_transform_weights(
    global const float *weights, global float *transformed, int inputChannels, int outputChannels) {
    const int channel = get_global_id(0) / ITEMS_PER_PANEL, panel = get_global_id(1);
    const int lane = get_global_id(0) % ITEMS_PER_PANEL * LANES;
    global const float *source = weights + ((size_t)panel * 9 * inputChannels + channel) * 16 + lane;
    lanes w[9];
#pragma unroll
    for (int i = 0; i < 9; i++) w[i] = *(global const lanes *)(source + (size_t)i * inputChannels * 16);
    store_transformed_weights(
        w, transformed + ((size_t)panel * inputChannels + channel) * 16 + lane,
        (size_t)inputChannels * outputChannels);
}

// U = G w Gᵀ for backward-data: filters turned by 180°, channels exchanged. A work-item: one filter of LANES
// input channels. Global (K·ITEMS_PER_PANEL, C/16), local (WEIGHTS_GROUP, 1): the work-group's items share
// the cache lines they gather from.
kernel __attribute__((reqd_work_group_size(WEIGHTS_GROUP, 1, 1))) void winograd_transform_weights_transposed(
    global const float *weights, global float *transformed, int inputChannels, int outputChannels) {
    const int filter = get_global_id(0) / ITEMS_PER_PANEL, panel = get_global_id(1);
    const int lane = get_global_id(0) % ITEMS_PER_PANEL * LANES;
    global const float *source =
        weights + ((size_t)(filter / 16) * 9 * inputChannels + panel * 16 + lane) * 16 + filter % 16;
    lanes w[9];
#pragma unroll
    for (int i = 0; i < 9; i++) {
        global const float *s = source + (size_t)(8 - i) * inputChannels * 16;
#if LANES == 1
        w[i] = s[0];
#elif LANES == 2
        w[i] = (lanes)(s[0], s[16]);
#elif LANES == 4
        w[i] = (lanes)(s[0], s[16], s[32], s[48]);
#else
        w[i] = (lanes)(s[0], s[16], s[32], s[48], s[64], s[80], s[96], s[112], s[128], s[144], s[160], s[176],
            s[192], s[208], s[224], s[240]);
#endif
    }
    store_transformed_weights(
        w, transformed + ((size_t)panel * outputChannels + filter) * 16 + lane,
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
    int width, int channels, int channel, place at, bool used, bool masked) {
    const int top = at.top - 1, left = at.left - 1;
    const long origin = (((long)at.image * height + top) * width + left) * channels + channel;
    lanes columns[POSITIONS], line[INPUT_TILE];
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
        const bool columnInside = used && left + j >= 0 && left + j < width;
#pragma unroll
        for (int i = 0; i < INPUT_TILE; i++) {
            line[i] = 0.0f;
            if (columnInside && top + i >= 0 && top + i < height) {
                const long offset = origin + ((long)i * width + j) * channels;
                line[i] = *(global const lanes *)(x + offset);
                FETCH_NEXT_PANEL(x + offset);
                if (masked) {
                    line[i] = select((lanes)0.0f, line[i], *(global const lanes *)(mask + offset) > 0.0f);
                    FETCH_NEXT_PANEL(mask + offset);
                }
            }
        }
        input_transform(line, 1, columns + j, INPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        input_transform(columns + i * INPUT_TILE, 1, line, 1);
#pragma unroll
        for (int j = 0; j < INPUT_TILE; j++)
            *(global lanes *)(target + (i * INPUT_TILE + j) * plane) = line[j];
    }
}

#if LANES == 16
// Not fmax: a NaN must stay one.
lanes larger(const lanes a, const lanes b) { return select(a, b, (a < b) | isnan(b)); }
#endif

// Stores in y the tile Aᵀ M A + added, M read at `source`, a position every `plane` floats; values below
// `lowest` become `lowest`. `streamed`: past the cache. `mask` (or 0): of y's shape; what it does not have
// above 0 becomes 0. `pooled` (or 0): gets the maxima of the 2×2 windows of an even map, as
// `max_pool_forward` has them.
void transform_output_tile(
    global const float *source, size_t plane, lanes added, lanes lowest, global float *y, bool streamed,
    global const float *mask, global float *pooled, int height, int width, int channels, int channel,
    place at) {
    const size_t corner =
        (((size_t)at.image * height + at.top) * width + at.left) * channels + channel;
    lanes columns[OUTPUT_TILE * INPUT_TILE], line[INPUT_TILE], result[OUTPUT_TILE];
#if LANES == 16 && OUTPUT_TILE == 4
    lanes above[OUTPUT_TILE];
#else
    (void)pooled;  // CPUs pool here, with tiles of four
#endif
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
#pragma unroll
        for (int i = 0; i < INPUT_TILE; i++)
            line[i] = *(global const lanes *)(source + (i * INPUT_TILE + j) * plane);
        output_transform(line, 1, columns + j, INPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < OUTPUT_TILE; i++) {
        output_transform(columns + i * INPUT_TILE, 1, result, 1);
        if (at.top + i < height) {
#pragma unroll
            for (int j = 0; j < OUTPUT_TILE; j++) {
                // Not fmax: a NaN must stay one.
                lanes value = result[j] + added;
                value = value < lowest ? lowest : value;
                if (at.left + j < width) {
                    const size_t offset = corner + ((size_t)i * width + j) * channels;
                    if (mask)
                        value = select((lanes)0.0f, value, *(global const lanes *)(mask + offset) > 0.0f);
                    if (streamed)
                        STREAM_STORE(value, (global lanes *)(y + offset));
                    else
                        *(global lanes *)(y + offset) = value;
                }
#if LANES == 16 && OUTPUT_TILE == 4
                if (!pooled) continue;
                if (i % 2 == 0) {
                    above[j] = value;
                } else if (j % 2 == 1 && at.left + j < width) {
                    const size_t window =
                        (((size_t)at.image * (height / 2) + (at.top + i) / 2) * (width / 2) +
                         (at.left + j) / 2) * channels + channel;
                    *(global lanes *)(pooled + window) =
                        larger(larger(above[j - 1], above[j]), larger(result[j - 1], value));
                }
                result[j] = value;
#endif
            }
        }
    }
}

// Where channel `channel` of a row lies in the planes of transformed maps.
size_t place_in_plane(int channel, int row, int rows) {
    return ((size_t)(channel / 16) * rows + row) * 16 + channel % 16;
}

// V = Bᵀ x B. A work-item: one tile of LANES channels. Global (channels/LANES, rows), local (ITEMS_PER_PANEL,
// TILE_GROUP).
// With `masked` 1 an element of x counts only where that of `mask` (same shape) is above 0: the gradient of a
// ReLU whose output is `mask`. Tiles from `firstTile` on; rows from `tileCount` on become zero. Without a
// mask pass x for it.
kernel __attribute__((reqd_work_group_size(ITEMS_PER_PANEL, TILE_GROUP, 1))) void winograd_transform_input(
    global const float *x, global const float *mask, int masked, global float *transformed, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * LANES, row = get_global_id(1), rows = get_global_size(1);
    transform_input_tile(
        x, mask, transformed + place_in_plane(channel, row, rows), plane_size(channels, rows), height, width,
        channels, channel, place_of_tile(firstTile + row, height, width), row < tileCount, masked);
}

// D = A dY Aᵀ, and the sum of each tile of dY as the last plane. A work-item: one tile of LANES channels.
// Global (channels/LANES, rows), local (ITEMS_PER_PANEL, TILE_GROUP). `mask`, `masked`, `firstTile` and
// `tileCount` as in `winograd_transform_input`.
kernel __attribute__((reqd_work_group_size(ITEMS_PER_PANEL, TILE_GROUP, 1))) void winograd_transform_gradient(
    global const float *gradient, global const float *mask, int masked, global float *transformed, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * LANES, row = get_global_id(1), rows = get_global_size(1);
    const place at = place_of_tile(firstTile + row, height, width);
    const bool used = row < tileCount;
    const long origin = (((long)at.image * height + at.top) * width + at.left) * channels + channel;
    const size_t plane = plane_size(channels, rows);
    global float *target = transformed + place_in_plane(channel, row, rows);

    lanes columns[INPUT_TILE * OUTPUT_TILE], line[INPUT_TILE], sum = 0.0f;
#pragma unroll
    for (int j = 0; j < OUTPUT_TILE; j++) {
        const bool columnInside = used && at.left + j < width;
#pragma unroll
        for (int i = 0; i < OUTPUT_TILE; i++) {
            line[i] = 0.0f;
            if (columnInside && at.top + i < height) {
                const long offset = origin + ((long)i * width + j) * channels;
                line[i] = *(global const lanes *)(gradient + offset);
                FETCH_NEXT_PANEL(gradient + offset);
                if (masked) {
                    line[i] = select((lanes)0.0f, line[i], *(global const lanes *)(mask + offset) > 0.0f);
                    FETCH_NEXT_PANEL(mask + offset);
                }
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
            *(global lanes *)(target + (i * INPUT_TILE + j) * plane) = line[j];
    }
    *(global lanes *)(target + POSITIONS * plane) = sum;
}

// Y = Aᵀ M A, with the `flags` WITH_… above. A work-item: one tile of LANES channels.
// Global (channels/LANES, rows), local (ITEMS_PER_PANEL, TILE_GROUP). Pass any buffer for a bias or mask that
// is not used.
kernel __attribute__((reqd_work_group_size(ITEMS_PER_PANEL, TILE_GROUP, 1))) void winograd_transform_output(
    global const float *transformed, global float *y, global const float *bias, int flags, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * LANES, row = get_global_id(1), rows = get_global_size(1);
    if (row >= tileCount) return;
    const bool biased = flags & WITH_BIAS;
    const lanes offset = biased ? *(global const lanes *)(bias + channel) : (lanes)0.0f;
    transform_output_tile(
        transformed + place_in_plane(channel, row, rows), plane_size(channels, rows), offset,
        biased ? 0.0f : -INFINITY, y, flags & WITH_STREAM, flags & WITH_MASK ? bias : 0, 0, height, width,
        channels, channel, place_of_tile(firstTile + row, height, width));
}

// dW = Gᵀ dU G. A work-item: one input channel of LANES filters. Global (C·ITEMS_PER_PANEL, K/16), local
// (WEIGHTS_GROUP, 1).
kernel __attribute__((reqd_work_group_size(WEIGHTS_GROUP, 1, 1))) void winograd_transform_weights_gradient(
    global const float *transformed, global float *weightsGradient, int inputChannels, int outputChannels) {
    const int channel = get_global_id(0) / ITEMS_PER_PANEL, panel = get_global_id(1);
    const int lane = get_global_id(0) % ITEMS_PER_PANEL * LANES;
    const size_t plane = (size_t)inputChannels * outputChannels;
    global const float *source = transformed + ((size_t)panel * inputChannels + channel) * 16 + lane;
    global float *target = weightsGradient + ((size_t)panel * 9 * inputChannels + channel) * 16 + lane;
    lanes columns[3 * INPUT_TILE], line[INPUT_TILE];
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
#pragma unroll
        for (int i = 0; i < INPUT_TILE; i++)
            line[i] = *(global const lanes *)(source + (i * INPUT_TILE + j) * plane);
        weights_gradient_transform(line, 1, columns + j, INPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < 3; i++) {
        weights_gradient_transform(columns + i * INPUT_TILE, 1, line, 1);
#pragma unroll
        for (int j = 0; j < 3; j++)
            *(global lanes *)(target + (size_t)(i * 3 + j) * inputChannels * 16) = line[j];
    }
}
