// The transforms of Winograd's convolution, for winograd.cl of both bodies; cpu/winograd.cl has the layouts.
//
// LANES channels are transformed together: the floats of a CPU's register, 8 or 16, and 1, 2 or 4 on a GPU,
// so that neighbouring work-items access neighbouring floats. A CPU's work-item takes a panel of 16 channels,
// in 16 / LANES steps. LANES changes no result.
//
// Macros of the family: ITEMS_PER_PANEL (work-items that take a panel together), WEIGHT_LINES (channels or
// filters whose weights a work-group transforms) and PLANE_GAP (unused floats behind a plane).

#if LANES == 1
typedef float lanes;
#elif LANES == 2
typedef float2 lanes;
#elif LANES == 4
typedef float4 lanes;
#elif LANES == 8
typedef float8 lanes;
typedef int8 lane_bits;
#define AS_LANES as_float8
#else
typedef float16 lanes;
typedef int16 lane_bits;
#define AS_LANES as_float16
#endif
// Channels or filters of a panel that a work-item takes: 16 on CPUs, LANES on GPUs.
#define CHANNELS_PER_ITEM (16 / ITEMS_PER_PANEL)
#define WEIGHTS_GROUP (WEIGHT_LINES * ITEMS_PER_PANEL)

// cpu/winograd.cl defines ON_CPU and FETCH_AHEAD, stream.h STREAM_STORE. GPUs get these:
#ifndef ON_CPU
#define ON_CPU 0
#define FETCH_AHEAD(pointer) (void)(pointer)
#define STREAM_STORE(value, pointer) *(pointer) = (value)
#endif

// Bits of the flags of what is written.
#define WITH_BIAS 1  // adds a bias, then ReLU
#if ON_CPU
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

// U = G w Gᵀ for forward. A work-item: one input channel of CHANNELS_PER_ITEM filters. Global
// (C·ITEMS_PER_PANEL, K/16), local (WEIGHTS_GROUP, 1).
kernel __attribute__((reqd_work_group_size(WEIGHTS_GROUP, 1, 1))) void winograd_transform_weights(
    global const float *weights, global float *transformed, int inputChannels, int outputChannels) {
    const int channel = get_global_id(0) / ITEMS_PER_PANEL, panel = get_global_id(1);
    const int lane = get_global_id(0) % ITEMS_PER_PANEL * CHANNELS_PER_ITEM;
    weights += ((size_t)panel * 9 * inputChannels + channel) * 16 + lane;
    transformed += ((size_t)panel * inputChannels + channel) * 16 + lane;
    for (int part = 0; part < CHANNELS_PER_ITEM; part += LANES) {
        lanes w[9];
#pragma unroll
        for (int i = 0; i < 9; i++)
            w[i] = *(global const lanes *)(weights + part + (size_t)i * inputChannels * 16);
        store_transformed_weights(w, transformed + part, (size_t)inputChannels * outputChannels);
    }
}

// U = G w Gᵀ for backward-data: filters turned by 180°, channels exchanged. A work-item: one filter of
// CHANNELS_PER_ITEM input channels. Global (K·ITEMS_PER_PANEL, C/16), local (WEIGHTS_GROUP, 1): its items
// share the cache lines they gather from.
kernel __attribute__((reqd_work_group_size(WEIGHTS_GROUP, 1, 1))) void winograd_transform_weights_transposed(
    global const float *weights, global float *transformed, int inputChannels, int outputChannels) {
    const int filter = get_global_id(0) / ITEMS_PER_PANEL, panel = get_global_id(1);
    const int lane = get_global_id(0) % ITEMS_PER_PANEL * CHANNELS_PER_ITEM;
    weights += ((size_t)(filter / 16) * 9 * inputChannels + panel * 16 + lane) * 16 + filter % 16;
    transformed += ((size_t)panel * outputChannels + filter) * 16 + lane;
    for (int part = 0; part < CHANNELS_PER_ITEM; part += LANES) {
        lanes w[9];
#pragma unroll
        for (int i = 0; i < 9; i++) {
            global const float *s = weights + part * 16 + (size_t)(8 - i) * inputChannels * 16;
#if LANES == 1
            w[i] = s[0];
#elif LANES == 2
            w[i] = (lanes)(s[0], s[16]);
#elif LANES == 4
            w[i] = (lanes)(s[0], s[16], s[32], s[48]);
#elif LANES == 8
            w[i] = (lanes)(s[0], s[16], s[32], s[48], s[64], s[80], s[96], s[112]);
#else
            w[i] = (lanes)(s[0], s[16], s[32], s[48], s[64], s[80], s[96], s[112], s[128], s[144], s[160],
                s[176], s[192], s[208], s[224], s[240]);
#endif
        }
        store_transformed_weights(w, transformed + part, (size_t)inputChannels * outputChannels);
    }
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

// Returns the distance in floats from the pixel that a work-item accesses now to the one to prefetch: the
// same pixel in the next panel, or, after the last panel, in the first panel of the tile `step` tiles later.
// `scale` 2: the distance in the pooled map. A tile's pixels are on cache lines far apart, so the hardware's
// prefetcher does not help.
static long distance_ahead(int tile, int step, int height, int width, int channels, int channel, int scale) {
    if (channel + 16 < channels) return 16;
    const place at = place_of_tile(tile, height, width), later = place_of_tile(tile + step, height, width);
    const long rows = ((long)(later.image - at.image) * height + later.top - at.top) / scale;
    return (rows * (width / scale) + (later.left - at.left) / scale) * channels - channel;
}

// How to read a tile. `left` is its first column, which may be −1.
typedef struct {
    int left, width, channels;
#if ON_CPU
    // Of each row: the offset of the row, clamped to the map, and a mask with all bits set if the row lies in
    // the map. Testing at every pixel would take a sixth of a tile's time.
    long offsets[INPUT_TILE];
    lane_bits inside[INPUT_TILE];
#else
    int top, height;
    long first;
#endif
} tile_source;

// Returns how to read the tile at row `top` and column `left` of an image. If the tile is not `used`, all of
// it counts as outside the map.
static inline __attribute__((always_inline)) tile_source source_of_tile(
    int image, int top, int left, int height, int width, int channels, int channel, bool used) {
    tile_source source;
    source.left = left;
    source.width = used ? width : 0;
    source.channels = channels;
#if ON_CPU
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        const int row = clamp(top + i, 0, height - 1);
        source.offsets[i] = (((long)image * height + row) * width + left) * channels + channel;
        source.inside[i] = row == top + i ? -1 : 0;
    }
#else
    source.top = top;
    source.height = height;
    source.first = (((long)image * height + top) * width + left) * channels + channel;
#endif
    return source;
}

// Returns whether a tile's column lies in the map. Always true on GPUs, where `read_column` does the test.
static bool has_column(const tile_source *source, int column) {
    return !ON_CPU || (uint)(source->left + column) < (uint)source->width;
}

// Reads the first `count` pixels of a tile's column, LANES channels: zeros outside the map, and with `masked`
// where `mask` is not above 0.
static inline __attribute__((always_inline)) void read_column(
    global const float *x, global const float *mask, bool masked, const tile_source *source, int column,
    int count, long ahead, lanes *line) {
#pragma unroll
    for (int i = 0; i < count; i++) {
#if ON_CPU
        const long offset = source->offsets[i] + column * source->channels;
        line[i] = AS_LANES(*(global const lane_bits *)(x + offset) & source->inside[i]);
#else
        const int row = source->top + i, map_column = source->left + column;
        line[i] = 0.0f;
        if (row < 0 || row >= source->height || map_column < 0 || map_column >= source->width) continue;
        const long offset = source->first + ((long)i * source->width + column) * source->channels;
        line[i] = *(global const lanes *)(x + offset);
#endif
        FETCH_AHEAD(x + offset + ahead);
        if (masked) {
            line[i] = select((lanes)0.0f, line[i], *(global const lanes *)(mask + offset) > 0.0f);
            FETCH_AHEAD(mask + offset + ahead);
        }
    }
}

// Transforms the second dimension of Bᵀ x B and stores it at `target`, a position every `plane` floats.
static inline __attribute__((always_inline)) void store_input_tile(
    const lanes *columns, global float *target, size_t plane) {
    lanes line[INPUT_TILE];
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        input_transform(columns + i * INPUT_TILE, 1, line, 1);
#pragma unroll
        for (int j = 0; j < INPUT_TILE; j++)
            *(global lanes *)(target + (i * INPUT_TILE + j) * plane) = line[j];
    }
}

// Transforms the second dimension of A dY Aᵀ and stores it at `target`, a position every `plane` floats; the
// sum over the tile is the last plane.
static inline __attribute__((always_inline)) void store_gradient_tile(
    const lanes *columns, lanes sum, global float *target, size_t plane) {
    lanes line[INPUT_TILE];
#pragma unroll
    for (int i = 0; i < INPUT_TILE; i++) {
        gradient_transform(columns + i * OUTPUT_TILE, 1, line, 1);
#pragma unroll
        for (int j = 0; j < INPUT_TILE; j++)
            *(global lanes *)(target + (i * INPUT_TILE + j) * plane) = line[j];
    }
    *(global lanes *)(target + POSITIONS * plane) = sum;
}

// Stores at `target`, a position every `plane` floats, Bᵀ x B of LANES channels.
static inline __attribute__((always_inline)) void transform_input_lanes(
    global const float *x, global const float *mask, bool masked, const tile_source *source, long ahead,
    global float *target, size_t plane) {
    lanes columns[POSITIONS], line[INPUT_TILE];
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
        if (has_column(source, j)) {
            read_column(x, mask, masked, source, j, INPUT_TILE, ahead, line);
            input_transform(line, 1, columns + j, INPUT_TILE);
        } else {
#pragma unroll
            for (int i = 0; i < INPUT_TILE; i++) columns[i * INPUT_TILE + j] = 0.0f;
        }
    }
    store_input_tile(columns, target, plane);
}

// Stores at `target`, a position every `plane` floats, Bᵀ x B of a work-item's channels of a tile; zero if it
// is not `used`. The tile `step` tiles later is prefetched.
void transform_input_tile(
    global const float *x, global const float *mask, global float *target, size_t plane, int height,
    int width, int channels, int channel, int tile, int step, bool used, bool masked) {
    const place at = place_of_tile(tile, height, width);
    const tile_source source =
        source_of_tile(at.image, at.top - 1, at.left - 1, height, width, channels, channel, used);
    const long ahead = distance_ahead(tile, step, height, width, channels, channel, 1);
    // On CPUs `masked` is a constant in each loop, so that no pixel is tested.
    if (ON_CPU && !masked) {
#pragma nounroll
        for (int i = 0; i < CHANNELS_PER_ITEM; i += LANES)
            transform_input_lanes(x + i, mask + i, false, &source, ahead, target + i, plane);
    } else {
#pragma nounroll
        for (int i = 0; i < CHANNELS_PER_ITEM; i += LANES)
            transform_input_lanes(
                x + i, mask + i, ON_CPU ? true : masked, &source, ahead, target + i, plane);
    }
}

#if ON_CPU && OUTPUT_TILE == 4
typedef lanes window_value;
#include "pooling.h"
#endif

// Computes Aᵀ M A + added for LANES channels of a tile, M read at `source`, a position every `plane` floats,
// and stores it in y from element `first` on. Values below `lowest` become `lowest`. Only the first `rows`
// rows and `columns` columns lie in the map. `streamed`: uses non-temporal stores. `mask` (or 0) has y's
// shape; results are 0 where it is not above 0. `pooled` (or 0) gets the maxima of 2×2 windows, as
// `max_pool_forward` does.
static inline __attribute__((always_inline)) void transform_output_lanes(
    global const float *source, size_t plane, lanes added, lanes lowest, global float *y, size_t first,
    int rows, int columns, bool streamed, global const float *mask, global float *pooled, int width,
    int channels, long ahead) {
    lanes transformed[OUTPUT_TILE * INPUT_TILE], line[INPUT_TILE], result[OUTPUT_TILE];
#if ON_CPU && OUTPUT_TILE == 4
    lanes above[OUTPUT_TILE];
#else
    (void)pooled;  // CPUs pool here, with tiles of four
#endif
#pragma unroll
    for (int j = 0; j < INPUT_TILE; j++) {
#pragma unroll
        for (int i = 0; i < INPUT_TILE; i++)
            line[i] = *(global const lanes *)(source + (i * INPUT_TILE + j) * plane);
        output_transform(line, 1, transformed + j, INPUT_TILE);
    }
#pragma unroll
    for (int i = 0; i < OUTPUT_TILE; i++) {
        output_transform(transformed + i * INPUT_TILE, 1, result, 1);
        if (i < rows) {
#pragma unroll
            for (int j = 0; j < OUTPUT_TILE; j++) {
                // Not fmax: a NaN must stay one.
                lanes value = result[j] + added;
                value = value < lowest ? lowest : value;
                if (j < columns) {
                    const size_t offset = first + ((size_t)i * width + j) * channels;
                    if (mask) {
                        value = select((lanes)0.0f, value, *(global const lanes *)(mask + offset) > 0.0f);
                        FETCH_AHEAD(mask + offset + ahead);
                    }
                    if (streamed) {
                        STREAM_STORE(value, (global lanes *)(y + offset));
                    } else {
                        *(global lanes *)(y + offset) = value;
                        FETCH_AHEAD(y + offset + ahead);
                    }
                }
#if ON_CPU && OUTPUT_TILE == 4
                if (!pooled) continue;
                if (i % 2 == 0) {
                    above[j] = value;
                } else if (j % 2 == 1 && j < columns) {
                    *(global lanes *)(pooled + ((size_t)(i / 2) * (width / 2) + j / 2) * channels) =
                        larger(larger(above[j - 1], above[j]), larger(result[j - 1], value));
                }
                result[j] = value;
#endif
            }
        }
    }
}

// Stores a work-item's channels of a tile: see `transform_output_lanes`. `pooled` (or 0): the tensor of the
// maxima. The tile `step` tiles later is prefetched.
static inline __attribute__((always_inline)) void transform_output_tile(
    global const float *source, size_t plane, global const float *bias, global float *y, bool streamed,
    global const float *mask, global float *pooled, int height, int width, int channels, int channel,
    int tile, int step) {
    const place at = place_of_tile(tile, height, width);
    const long ahead = distance_ahead(tile, step, height, width, channels, channel, 1);
    const size_t first = (((size_t)at.image * height + at.top) * width + at.left) * channels + channel;
    const int rows = min(OUTPUT_TILE, height - at.top), columns = min(OUTPUT_TILE, width - at.left);
    if (pooled)
        pooled +=
            (((size_t)at.image * (height / 2) + at.top / 2) * (width / 2) + at.left / 2) * channels + channel;
#pragma nounroll
    for (int lane = 0; lane < CHANNELS_PER_ITEM; lane += LANES) {
        const lanes added = bias ? *(global const lanes *)(bias + channel + lane) : (lanes)0.0f;
        const lanes lowest = bias ? 0.0f : -INFINITY;
        if (ON_CPU && rows == OUTPUT_TILE && columns == OUTPUT_TILE)
            transform_output_lanes(
                source + lane, plane, added, lowest, y, first + lane, OUTPUT_TILE, OUTPUT_TILE, streamed,
                mask, pooled ? pooled + lane : 0, width, channels, ahead);
        else
            transform_output_lanes(
                source + lane, plane, added, lowest, y, first + lane, rows, columns, streamed, mask,
                pooled ? pooled + lane : 0, width, channels, ahead);
    }
}

// Where channel `channel` of a row lies in the planes of transformed maps.
size_t place_in_plane(int channel, int row, int rows) {
    return ((size_t)(channel / 16) * rows + row) * 16 + channel % 16;
}

// V = Bᵀ x B. A work-item: CHANNELS_PER_ITEM channels of a tile. Global (panels·ITEMS_PER_PANEL, rows), local
// (ITEMS_PER_PANEL, TILE_GROUP).
// With `masked` 1 an element of x counts only where that of `mask` (same shape) is above 0: the gradient of a
// ReLU whose output is `mask`. Tiles from `firstTile` on; rows from `tileCount` on become zero. Without a
// mask pass x for it.
kernel __attribute__((reqd_work_group_size(ITEMS_PER_PANEL, TILE_GROUP, 1))) void winograd_transform_input(
    global const float *x, global const float *mask, int masked, global float *transformed, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * CHANNELS_PER_ITEM;
    const int row = get_global_id(1), rows = get_global_size(1), tile = firstTile + row;
    transform_input_tile(
        x, mask, transformed + place_in_plane(channel, row, rows), plane_size(channels, rows), height, width,
        channels, channel, tile, TILE_GROUP, row < tileCount, masked);
}

// Stores A dY Aᵀ of LANES channels, and their sum over the tile as the last plane.
static inline __attribute__((always_inline)) void transform_gradient_lanes(
    global const float *gradient, global const float *mask, bool masked, const tile_source *source,
    long ahead, global float *target, size_t plane) {
    lanes columns[INPUT_TILE * OUTPUT_TILE], line[INPUT_TILE], sum = 0.0f;
#pragma unroll
    for (int j = 0; j < OUTPUT_TILE; j++) {
        if (has_column(source, j)) {
            read_column(gradient, mask, masked, source, j, OUTPUT_TILE, ahead, line);
#pragma unroll
            for (int i = 0; i < OUTPUT_TILE; i++) sum += line[i];
            gradient_transform(line, 1, columns + j, OUTPUT_TILE);
        } else {
#pragma unroll
            for (int i = 0; i < INPUT_TILE; i++) columns[i * OUTPUT_TILE + j] = 0.0f;
        }
    }
    store_gradient_tile(columns, sum, target, plane);
}

// D = A dY Aᵀ, and the sum of each tile of dY as the last plane. A work-item: CHANNELS_PER_ITEM channels of a
// tile. Global (panels·ITEMS_PER_PANEL, rows), local (ITEMS_PER_PANEL, TILE_GROUP). `mask`, `masked`,
// `firstTile` and `tileCount` as in `winograd_transform_input`.
kernel __attribute__((reqd_work_group_size(ITEMS_PER_PANEL, TILE_GROUP, 1))) void winograd_transform_gradient(
    global const float *gradient, global const float *mask, int masked, global float *transformed, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * CHANNELS_PER_ITEM;
    const int row = get_global_id(1), rows = get_global_size(1), tile = firstTile + row;
    const place at = place_of_tile(tile, height, width);
    const tile_source source =
        source_of_tile(at.image, at.top, at.left, height, width, channels, channel, row < tileCount);
    const long ahead = distance_ahead(tile, TILE_GROUP, height, width, channels, channel, 1);
    const size_t plane = plane_size(channels, rows);
    transformed += place_in_plane(channel, row, rows);
    // As in `transform_input_tile`.
    if (ON_CPU && !masked) {
#pragma nounroll
        for (int i = 0; i < CHANNELS_PER_ITEM; i += LANES)
            transform_gradient_lanes(gradient + i, mask + i, false, &source, ahead, transformed + i, plane);
    } else {
#pragma nounroll
        for (int i = 0; i < CHANNELS_PER_ITEM; i += LANES)
            transform_gradient_lanes(
                gradient + i, mask + i, ON_CPU ? true : masked, &source, ahead, transformed + i, plane);
    }
}

// Y = Aᵀ M A, with the `flags` WITH_… above. A work-item: CHANNELS_PER_ITEM channels of a tile. Global
// (panels·ITEMS_PER_PANEL, rows), local (ITEMS_PER_PANEL, TILE_GROUP). Pass any buffer for a bias or mask
// that is not used.
kernel __attribute__((reqd_work_group_size(ITEMS_PER_PANEL, TILE_GROUP, 1))) void winograd_transform_output(
    global const float *transformed, global float *y, global const float *bias, int flags, int height,
    int width, int channels, int firstTile, int tileCount) {
    const int channel = get_global_id(0) * CHANNELS_PER_ITEM;
    const int row = get_global_id(1), rows = get_global_size(1), tile = firstTile + row;
    if (row >= tileCount) return;
    transform_output_tile(
        transformed + place_in_plane(channel, row, rows), plane_size(channels, rows),
        flags & WITH_BIAS ? bias : 0, y, flags & WITH_STREAM, flags & WITH_MASK ? bias : 0, 0, height, width,
        channels, channel, tile, TILE_GROUP);
}

// dW = Gᵀ dU G. A work-item: one input channel of CHANNELS_PER_ITEM filters. Global (C·ITEMS_PER_PANEL,
// K/16), local (WEIGHTS_GROUP, 1).
kernel __attribute__((reqd_work_group_size(WEIGHTS_GROUP, 1, 1))) void winograd_transform_weights_gradient(
    global const float *transformed, global float *weightsGradient, int inputChannels, int outputChannels) {
    const int channel = get_global_id(0) / ITEMS_PER_PANEL, panel = get_global_id(1);
    const int lane = get_global_id(0) % ITEMS_PER_PANEL * CHANNELS_PER_ITEM;
    const size_t plane = (size_t)inputChannels * outputChannels;
    transformed += ((size_t)panel * inputChannels + channel) * 16 + lane;
    weightsGradient += ((size_t)panel * 9 * inputChannels + channel) * 16 + lane;
    for (int part = 0; part < CHANNELS_PER_ITEM; part += LANES) {
        global const float *source = transformed + part;
        global float *target = weightsGradient + part;
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
}
