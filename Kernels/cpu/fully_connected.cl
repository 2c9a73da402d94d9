// Fully connected layer, backward-data, for devices that run a work-item on a CPU core. The other two passes
// are matrix products of gemm.cl:
//   forward           Y[batch][outputs] = X · W + bias: `gemm` with the flags for bias and ReLU
//                     (B = W: b_panel_stride = 16·inputs, b_row_stride = 16)
//   backward-weights  dW = Xᵀ · dY: `gemm_transposed` (B = dY packed to panels: b_panel_stride = 16·batch,
//                     b_row_stride = 16; A = X, packed in blocks unless the panels are few; C in panels:
//                     c_panel_stride = 16·inputs, c_row_stride = 16)
// and the bias' gradient is `bias_backward` and `reduce_slots` of convolution.cl with pixels = batch.
//
// Layouts. X[batch][inputs], Y[batch][outputs]; weights in panels [outputs/16][inputs][16]; inputs and
// outputs are multiples of 16.
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
//   VECTOR       floats in a register, 8 or 16 (8: AVX2, 16: AVX-512)
//   PANELS       panels of the batch in a wide tile
//   ROWS         inputs of a wide tile; the registers hold its ROWS · PANELS · 16/VECTOR sums
//   NARROW_ROWS  if PANELS is more than 1: inputs of a tile one panel wide; the registers hold its
//                NARROW_ROWS · 16/VECTOR sums
//   FEW_ROWS     inputs of a tile of 8 images; the registers hold its FEW_ROWS sums
//   DEPTH_BLOCK  outputs taken at a time, a multiple of 16

#include "vector.h"

// Defines a function that adds `depth` outputs to a tile of `tile_rows` inputs × `panels` panels of `lanes`
// images, in vectors of `width` floats; `first`: to zeros. Inputs past `rows` repeat the last one and are not
// stored.
#define DEFINE_TILE(name, tile_rows, panels, lanes, width)                                                   \
    static inline __attribute__((always_inline)) void name(                                                  \
        global const float *weights, const size_t weights_panel, global const float *dy,                     \
        const size_t dy_panel, global float *sums, const size_t sums_panel, const int rows, const int depth, \
        const int first) {                                                                                   \
        typedef JOIN(float, width) part;                                                                     \
        enum { PARTS = lanes / width, COLUMNS = panels * PARTS };                                            \
        part sum[tile_rows][COLUMNS];                                                                        \
        _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                              \
            _Pragma("unroll") for (int j = 0; j < COLUMNS; j++) sum[r][j] =                                  \
                first ? (part)0                                                                              \
                      : *(global part *)(sums + j / PARTS * sums_panel + min(r, rows - 1) * lanes +          \
                                         j % PARTS * width);                                                 \
        }                                                                                                    \
        for (int k = 0; k < depth; k += 16, weights += weights_panel) {                                      \
            for (int o = 0; o < 16; o++, dy += lanes) {                                                      \
                part column[COLUMNS];                                                                        \
                _Pragma("unroll") for (int j = 0; j < COLUMNS; j++) column[j] =                              \
                    *(global const part *)(dy + j / PARTS * dy_panel + j % PARTS * width);                   \
                _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                      \
                    const part value = weights[min(r, rows - 1) * 16 + o];                                   \
                    _Pragma("unroll") for (int j = 0; j < COLUMNS; j++) sum[r][j] += value * column[j];      \
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

// Runs a tile over the inputs of a work-item of `fully_connected_backward_data`. Whole tiles get their number
// of rows as a constant: where addresses depend on it, a tile takes 1.5 times as long.
#define RUN_TILES(tile, tile_rows, lanes)                                                                    \
    for (int i = first_input; i < last_input; i += tile_rows) {                                              \
        global const float *inputs_weights = block + (size_t)i * 16;                                         \
        global float *inputs_sums = target + (size_t)i * lanes;                                              \
        if (last_input - i >= tile_rows)                                                                     \
            tile(                                                                                            \
                inputs_weights, weights_panel, dy, dy_panel, inputs_sums, sums_panel, tile_rows, depth,      \
                start == first);                                                                             \
        else                                                                                                 \
            tile(                                                                                            \
                inputs_weights, weights_panel, dy, dy_panel, inputs_sums, sums_panel, last_input - i, depth, \
                start == first);                                                                             \
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
              last_input = min(inputs, first_input + inputs_per_item);
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
