// Fully connected layer, for devices that run a work-item on a CPU core: forward, and backward-data.
// Backward-weights is a matrix product of gemm.cl, dW = Xᵀ · dY: `gemm_transposed` (B = dY packed to panels:
// b_panel_stride = 16·batch, b_row_stride = 16; A = X, packed in blocks unless the panels are few; C in
// panels: c_panel_stride = 16·inputs, c_row_stride = 16). The bias' gradient is `bias_backward` and
// `reduce_slots` of convolution.cl with pixels = batch.
//
// Layouts. X[batch][inputs], Y[batch][outputs]; weights in panels [outputs/16][inputs][16]. Outputs are a
// multiple of 16, and for backward-data inputs are, too.
//
// Forward multiplies little for each weight that it reads, so it must read and multiply at once. A work-item
// owns FORWARD_PANELS panels and at most FORWARD_IMAGES images. It takes `block_inputs` inputs at a time,
// whose weights stay in the second-level cache while its images pass by, in tiles of FORWARD_ROWS images ×
// FORWARD_VECTORS vectors; a tile may begin in the middle of a panel. The tiles prefetch the next block's
// weights, at an even pace: an AMD EPYC (Zen 2) seems to drop prefetches that come in bursts. The last
// panels, if they are fewer than FORWARD_PANELS, run in tiles of one panel that prefetch nothing. Each sum
// runs over a block's inputs in ascending order, and the blocks' sums are added one by one, whatever the
// launch geometry and the tiles.
//
// Backward-data is computed as dXᵀ = W · dYᵀ, with the batch in the vectors' lanes, so that the weights are
// read where they lie, once, in long runs, and nothing of their size is transposed: `gemm_pack_b_transposed`
// packs dY to panels [⌈batch/16⌉][outputs][16] first, or [outputs][8] for at most 8 images, so that no lane
// is idle. A work-item owns `inputs_per_item` inputs and the whole batch. It takes DEPTH_BLOCK outputs at a
// time, whose weights stay in the cache while the batch passes by, adds to its sums in `sums`, and writes
// them to dX in the end.
//
// The outputs are cut into slices of `slice_outputs`, the last of which may be shorter; their number is a
// power of two. A slice's sum runs over its outputs in ascending order, whatever the launch geometry, and the
// slices' sums are added in a binary tree. `sums` is a stack: slice s is added up at the height that is the
// number of bits set in s, then added to the sums below it that it completes.
//
// Tuning macros:
//   VECTOR          floats in a register, 8 or 16 (8: AVX2, 16: AVX-512)
//   FORWARD_ROWS    images of a tile of forward; the registers hold its FORWARD_ROWS · FORWARD_VECTORS sums
//   FORWARD_IMAGES  most images of a work-item of forward
// and for backward-data:
//   PANELS       panels of the batch in a wide tile
//   ROWS         inputs of a wide tile; the registers hold its ROWS · PANELS · 16/VECTOR sums
//   NARROW_ROWS  if PANELS is more than 1: inputs of a tile one panel wide; the registers hold its
//                NARROW_ROWS · 16/VECTOR sums
//   FEW_ROWS     inputs of a tile of 8 images; the registers hold its FEW_ROWS sums
//   DEPTH_BLOCK  outputs taken at a time, a multiple of 16
// Macro of the family: FORWARD_PANELS, panels of a work-item of forward.

#include "fetch.h"
#include "flags.h"
#include "vector.h"

enum {
    FORWARD_VECTORS = 3, // divides FORWARD_PANELS_VECTORS
    FORWARD_PANELS_VECTORS = FORWARD_PANELS * VECTORS_PER_PANEL,
    FORWARD_STEPS = 8, // inputs in a turn of a tile's loop
};

// Adds an input's products to the sums of a tile of forward.
#define FORWARD_STEP(vectors)                                                                                \
    {                                                                                                        \
        vector weight[vectors];                                                                              \
        _Pragma("unroll") for (int j = 0; j < vectors; j++) weight[j] =                                      \
            *(global const vector *)(column[j] + i * 16);                                                    \
        _Pragma("unroll") for (int r = 0; r < FORWARD_ROWS; r++) {                                           \
            const vector value = image[r][i];                                                                \
            _Pragma("unroll") for (int j = 0; j < vectors; j++) sum[r][j] += value * weight[j];              \
        }                                                                                                    \
        i++;                                                                                                 \
    }

// Defines a function that sums the inputs from `first` to `last` for FORWARD_ROWS images × `vectors` columns,
// each a vector wide, and adds the sums to `totals`. In each turn of its loop it prefetches `fetched` lines
// of each of FORWARD_PANELS panels, the first at `next`. `fetched` is a constant: with a counted loop in its
// place a prototype took 1.5 times as long, because the compiler kept sums in memory.
#define DEFINE_FORWARD_TILE(name, vectors, fetched)                                                          \
    static inline __attribute__((always_inline)) void name(                                                  \
        global const float *const *images, global const float *const *columns, vector *totals,               \
        const size_t first, const size_t last, global const float *next, const size_t panel_size) {          \
        global const float *image[FORWARD_ROWS], *column[vectors];                                           \
        vector sum[FORWARD_ROWS][vectors];                                                                   \
        _Pragma("unroll") for (int j = 0; j < vectors; j++) column[j] = columns[j];                          \
        _Pragma("unroll") for (int r = 0; r < FORWARD_ROWS; r++) {                                           \
            image[r] = images[r];                                                                            \
            _Pragma("unroll") for (int j = 0; j < vectors; j++) sum[r][j] = 0;                               \
        }                                                                                                    \
        size_t i = first;                                                                                    \
        for (; i + FORWARD_STEPS <= last; next += fetched * 16) {                                            \
            _Pragma("unroll") for (int pair = 0; pair < FORWARD_STEPS / 2; pair++) {                         \
                _Pragma("unroll") for (int line = 0; line < fetched * FORWARD_PANELS; line++) {              \
                    if (line * FORWARD_STEPS / 2 >= fetched * FORWARD_PANELS * pair &&                       \
                        line * FORWARD_STEPS / 2 < fetched * FORWARD_PANELS * (pair + 1))                    \
                        FETCH(next + line % FORWARD_PANELS * panel_size + line / FORWARD_PANELS * 16, 2);    \
                }                                                                                            \
                FORWARD_STEP(vectors)                                                                        \
                FORWARD_STEP(vectors)                                                                        \
            }                                                                                                \
        }                                                                                                    \
        while (i < last) FORWARD_STEP(vectors)                                                               \
        _Pragma("unroll") for (int r = 0; r < FORWARD_ROWS; r++) {                                           \
            _Pragma("unroll") for (int j = 0; j < vectors; j++) totals[r * vectors + j] += sum[r][j];        \
        }                                                                                                    \
    }

DEFINE_FORWARD_TILE(forward_tile_0, FORWARD_VECTORS, 0)
DEFINE_FORWARD_TILE(forward_tile_1, FORWARD_VECTORS, 1)
DEFINE_FORWARD_TILE(forward_tile_2, FORWARD_VECTORS, 2)
DEFINE_FORWARD_TILE(forward_tile_3, FORWARD_VECTORS, 3)
DEFINE_FORWARD_TILE(forward_tile_4, FORWARD_VECTORS, 4)
DEFINE_FORWARD_TILE(forward_tile_8, FORWARD_VECTORS, 8)
DEFINE_FORWARD_TILE(forward_tile_of_panel, VECTORS_PER_PANEL, 0)

// Y = X · W + bias, and ReLU if `flags` has it.
// block_inputs: inputs that are summed before they are added to the sum of those before.
// images_per_item: at most FORWARD_IMAGES.
// global (ceil(outputs/16 / FORWARD_PANELS), ceil(batch / images_per_item)), local (1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void fully_connected_forward(
    global const float *restrict x, global const float *restrict weights, global const float *restrict bias,
    global float *restrict y, const int batch, const int inputs, const int outputs, const int block_inputs,
    const int images_per_item, const int flags) {
    enum { MOST_ROWS = (FORWARD_IMAGES + FORWARD_ROWS - 1) / FORWARD_ROWS * FORWARD_ROWS };
    const int first_panel = get_global_id(0) * FORWARD_PANELS;
    const int first_image = get_global_id(1) * images_per_item;
    const int panels = min(FORWARD_PANELS, outputs / 16 - first_panel);
    const int image_count = min(images_per_item, batch - first_image);
    const int row_tiles = (image_count + FORWARD_ROWS - 1) / FORWARD_ROWS;
    const size_t panel_size = (size_t)inputs * 16;
    weights += first_panel * panel_size;
    // Rows past the last image repeat it, and are not stored.
    global const float *images[MOST_ROWS], *columns[FORWARD_PANELS_VECTORS];
    for (int row = 0; row < row_tiles * FORWARD_ROWS; row++)
        images[row] = x + (size_t)(first_image + min(row, image_count - 1)) * inputs;
    for (int j = 0; j < panels * VECTORS_PER_PANEL; j++)
        columns[j] = weights + j / VECTORS_PER_PANEL * panel_size + j % VECTORS_PER_PANEL * VECTOR;
    // `totals` holds the sums over the blocks so far, tile by tile.
    vector totals[MOST_ROWS * FORWARD_PANELS_VECTORS];
    for (int i = 0; i < row_tiles * FORWARD_ROWS * panels * VECTORS_PER_PANEL; i++) totals[i] = 0;

    const int vectors = panels == FORWARD_PANELS ? FORWARD_VECTORS : VECTORS_PER_PANEL;
    const int tiles = panels * VECTORS_PER_PANEL / vectors * row_tiles;
    for (int first = 0, last; first < inputs; first = last) {
        last = min(first + block_inputs, inputs);
        // The tiles prefetch the next block in FORWARD_STEPS parts, shared out evenly. Behind the last block
        // that is the first one of the next panels: the core that ends a work-item mostly takes the next.
        global const float *next =
            weights + (last < inputs ? (size_t)last * 16 : FORWARD_PANELS * panel_size);
        vector *tile_totals = totals;
        int parts = 0;
        for (int j = 0; j < panels * VECTORS_PER_PANEL; j += vectors) {
            for (int row = 0; row < row_tiles * FORWARD_ROWS; row += FORWARD_ROWS) {
                parts += FORWARD_STEPS;
                const int fetched = parts / tiles;
                parts %= tiles;
#define TILE_ARGUMENTS images + row, columns + j, tile_totals, first, last, next, panel_size
                if (panels < FORWARD_PANELS)
                    forward_tile_of_panel(TILE_ARGUMENTS);
                else if (fetched == 0)
                    forward_tile_0(TILE_ARGUMENTS);
                else if (fetched == 1)
                    forward_tile_1(TILE_ARGUMENTS);
                else if (fetched == 2)
                    forward_tile_2(TILE_ARGUMENTS);
                else if (fetched == 3)
                    forward_tile_3(TILE_ARGUMENTS);
                else if (fetched == 4)
                    forward_tile_4(TILE_ARGUMENTS);
                else
                    forward_tile_8(TILE_ARGUMENTS);
                next += (last - first) / FORWARD_STEPS * fetched * 16;
                tile_totals += FORWARD_ROWS * vectors;
            }
        }
    }

    for (int row = 0; row < image_count; row++) {
        for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) {
            const int column = first_panel * 16 + j * VECTOR;
            vector value = totals[(j / vectors * row_tiles * FORWARD_ROWS + row) * vectors + j % vectors] +
                           LOAD(bias + column);
            if (flags & RELU) value = value < 0.0f ? (vector)0.0f : value; // not max: a NaN must stay one
            STORE(value, y + (size_t)(first_image + row) * outputs + column);
        }
    }
}

// Defines a function that adds `depth` outputs to a tile of `tile_rows` inputs × `panels` panels of `lanes`
// images, in vectors of `width` floats; `first`: to zeros. Inputs past `rows` repeat the last one and are not
// stored. It also prefetches the weights of `tile_rows` inputs, the first at `next`.
#define DEFINE_TILE(name, tile_rows, panels, lanes, width)                                                   \
    static inline __attribute__((always_inline)) void name(                                                  \
        global const float *weights, const size_t weights_panel, global const float *dy,                     \
        const size_t dy_panel, global float *sums, const size_t sums_panel, const int rows, const int depth, \
        const int first, global const float *next) {                                                         \
        typedef JOIN(float, width) part;                                                                     \
        enum { PARTS = lanes / width, COLUMNS = panels * PARTS };                                            \
        part sum[tile_rows][COLUMNS];                                                                        \
        _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                              \
            _Pragma("unroll") for (int j = 0; j < COLUMNS; j++) sum[r][j] =                                  \
                first ? (part)0                                                                              \
                      : *(global part *)(sums + j / PARTS * sums_panel + min(r, rows - 1) * lanes +          \
                                         j % PARTS * width);                                                 \
        }                                                                                                    \
        for (int k = 0; k < depth; k += 16, weights += weights_panel, next += weights_panel) {               \
            for (int o = 0; o < 16; o += 2) {                                                                \
                for (int line = o / 2; line < tile_rows; line += 8) FETCH(next + line * 16, 2);              \
                _Pragma("unroll") for (int i = 0; i < 2; i++, dy += lanes) {                                 \
                    part column[COLUMNS];                                                                    \
                    _Pragma("unroll") for (int j = 0; j < COLUMNS; j++) column[j] =                          \
                        *(global const part *)(dy + j / PARTS * dy_panel + j % PARTS * width);               \
                    _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                  \
                        const part value = weights[min(r, rows - 1) * 16 + o + i];                           \
                        _Pragma("unroll") for (int j = 0; j < COLUMNS; j++) sum[r][j] += value * column[j];  \
                    }                                                                                        \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                              \
            if (r >= rows) continue;                                                                         \
            _Pragma("unroll") for (int j = 0; j < COLUMNS; j++)                                              \
                *(global part *)(sums + j / PARTS * sums_panel + r * lanes + j % PARTS * width) = sum[r][j]; \
        }                                                                                                    \
    }

DEFINE_TILE(wide_tile, ROWS, PANELS, 16, VECTOR)
#if PANELS > 1
DEFINE_TILE(narrow_tile, NARROW_ROWS, 1, 16, VECTOR)
#endif
DEFINE_TILE(few_tile, FEW_ROWS, 1, 8, 8)

// Runs a tile over the inputs of a work-item of `fully_connected_backward_data`. It prefetches the weights of
// the tile after the next, in the next block if this one ends. Whole tiles get their number of rows as a
// constant: where addresses depend on it, a tile takes 1.5 times as long.
#define RUN_TILES(tile, tile_rows, lanes)                                                                    \
    for (int i = first_input; i < last_input; i += tile_rows) {                                              \
        const int next = i + 2 * tile_rows;                                                                  \
        global const float *inputs_weights = block + (size_t)i * 16;                                         \
        global const float *next_weights =                                                                   \
            next < last_input ? block + (size_t)next * 16                                                    \
                              : block + depth / 16 * weights_panel + (size_t)(next - inputs_of_item) * 16;   \
        global float *inputs_sums = target + (size_t)i * lanes;                                              \
        if (last_input - i >= tile_rows)                                                                     \
            tile(                                                                                            \
                inputs_weights, weights_panel, dy, dy_panel, inputs_sums, sums_panel, tile_rows, depth,      \
                start == first, next_weights);                                                               \
        else                                                                                                 \
            tile(                                                                                            \
                inputs_weights, weights_panel, dy, dy_panel, inputs_sums, sums_panel, last_input - i, depth, \
                start == first, next_weights);                                                               \
    }

// Adds the sums of a work-item's inputs at one height of the stack to those below it.
static void add_sums(
    global float *below, global const float *sums, const size_t sums_panel,
    const int batch_panels, const int lanes, const int first_input, const int last_input) {
    for (int panel = 0; panel < batch_panels; panel++) {
        global float *target = below + panel * sums_panel;
        global const float *source = sums + panel * sums_panel;
        for (size_t i = (size_t)first_input * lanes; i < (size_t)last_input * lanes; i += 8)
            *(global float8 *)(target + i) += *(global const float8 *)(source + i);
    }
}

// dX = dY · Wᵀ. dy_panels: dY packed in panels of `lanes` images, 16 or 8, the latter for at most 8 images;
// zeros past the batch. sums: ⌈batch/lanes⌉ · inputs · lanes floats of scratch memory for each height of the
// stack, log₂(slices) + 1.
// global (ceil(inputs / inputs_per_item)), local (1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void fully_connected_backward_data(
    global const float *restrict dy_panels, global const float *restrict weights, global float *restrict sums,
    global float *restrict dx, const int batch, const int inputs, const int outputs,
    const int slice_outputs, const int inputs_per_item, const int lanes) {
    const int first_input = get_global_id(0) * inputs_per_item,
              last_input = min(inputs, first_input + inputs_per_item),
              inputs_of_item = last_input - first_input;
    const int batch_panels = (batch + lanes - 1) / lanes;
    const size_t weights_panel = (size_t)inputs * 16, dy_panel = (size_t)outputs * lanes,
                 sums_panel = (size_t)inputs * lanes, sums_height = batch_panels * sums_panel;
    for (int slice = 0, first = 0; first < outputs; slice++, first += slice_outputs) {
        const int last = min(outputs, first + slice_outputs);
        global float *top = sums + popcount(slice) * sums_height;
        for (int start = first; start < last; start += DEPTH_BLOCK) {
            const int depth = min(DEPTH_BLOCK, last - start);
            global const float *block = weights + start / 16 * weights_panel;
            int panel = 0;
            while (panel < batch_panels) {
                const int wide = panel + PANELS <= batch_panels;
                global const float *dy = dy_panels + panel * dy_panel + (size_t)start * lanes;
                global float *target = top + panel * sums_panel;
                if (lanes == 8)
                    RUN_TILES(few_tile, FEW_ROWS, 8)
                else if (wide)
                    RUN_TILES(wide_tile, ROWS, 16)
#if PANELS > 1
                else
                    RUN_TILES(narrow_tile, NARROW_ROWS, 16)
#endif
                panel += wide ? PANELS : 1;
            }
        }
        for (int rest = slice; rest & 1; rest >>= 1, top -= sums_height)
            add_sums(top - sums_height, top, sums_panel, batch_panels, lanes, first_input, last_input);
    }
    for (int row = 0; row < batch; row++) {
        global const float *source = sums + row / lanes * sums_panel + row % lanes;
        for (int i = first_input; i < last_input; i++) dx[(size_t)row * inputs + i] = source[i * lanes];
    }
}
