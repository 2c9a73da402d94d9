// Matrix product for devices that run a work-item on a CPU core: C[M×N] = A[M×K] · B[K×N], with an optional
// sum into C, bias and ReLU.
//
// Layouts. N is a multiple of 16; a *panel* is 16 neighbouring columns.
//   A: element (m, k) at m·lda + k (`gemm`), or k·lda + m, or in blocks of a work-item's rows,
//   [⌈M / rows_per_item⌉][K][rows_per_item] (both `gemm_transposed`).
//   B and C: element (row, n) at (n/16)·panel_stride + row·row_stride + n%16. So panels [N/16][rows][16] have
//   panel_stride = 16·rows and row_stride = 16, and a row-major matrix has panel_stride = 16 and row_stride =
//   its row length.
//
// One work-item computes `rows_per_item` rows × `panels_per_item` panels. It cuts the depth K in blocks of
// DEPTH_BLOCK, and a block into tiles of ROWS rows × PANELS·16 sums held in registers. Each sum runs over k
// in ascending order, block by block, whatever the launch geometry and the tiles.
//
// Tuning macros:
//   VECTOR       floats in a register, 8 or 16 (8: AVX2, 16: AVX-512)
//   ROWS         rows of a tile; the registers hold its ROWS · PANELS · 16/VECTOR sums
//   PANELS       panels of a tile
//   DEPTH_BLOCK  depth of a block: a block of B stays in the cache while the rows pass by

#include "flags.h"
#include "stream.h"
#include "vector.h"

// Where a tile writes a vector of C.
#define TARGET(r, j) (c + j / VECTORS_PER_PANEL * c_panel + r * c_row + j % VECTORS_PER_PANEL * VECTOR)

// Defines a function for a tile of `tile_rows` × panels·16. Rows past `rows` repeat the last one and are not
// stored.
#define DEFINE_TILE(name, tile_rows, panels)                                                                 \
    static inline __attribute__((always_inline)) void name(                                                  \
        global const float *a, const size_t a_row, const size_t a_depth, global const float *b,              \
        const size_t b_panel, const size_t b_row, global const float *bias, global float *c,                 \
        const size_t c_panel, const size_t c_row, const int rows, const int depth, const int flags) {        \
        vector sum[tile_rows][panels * VECTORS_PER_PANEL];                                                   \
        global const float *row[tile_rows];                                                                  \
        _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                              \
            row[r] = a + min(r, rows - 1) * a_row;                                                           \
            _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) sum[r][j] = 0;            \
        }                                                                                                    \
        size_t a_index = 0;                                                                                  \
        for (int k = 0; k < depth; k++) {                                                                    \
            vector column[panels * VECTORS_PER_PANEL];                                                       \
            _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) column[j] =               \
                LOAD(b + j / VECTORS_PER_PANEL * b_panel + j % VECTORS_PER_PANEL * VECTOR);                  \
            _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                          \
                const vector value = row[r][a_index];                                                        \
                _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) sum[r][j] +=          \
                    value * column[j];                                                                       \
            }                                                                                                \
            a_index += a_depth;                                                                              \
            b += b_row;                                                                                      \
        }                                                                                                    \
        if (flags == STREAM) { /* apart: where the depth is small, tests take a tenth of a tile's time */    \
            _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                          \
                _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) {                     \
                    if (r < rows) STREAM_STORE(sum[r][j], (global vector *)TARGET(r, j));                    \
                }                                                                                            \
            }                                                                                                \
            return;                                                                                          \
        }                                                                                                    \
        _Pragma("unroll") for (int r = 0; r < tile_rows; r++) {                                              \
            _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) {                         \
                if (r >= rows) continue;                                                                     \
                vector value = sum[r][j];                                                                    \
                if (flags & ACCUMULATE) value += LOAD(TARGET(r, j));                                         \
                if (flags & ADD_BIAS) value += LOAD(bias + j * VECTOR);                                      \
                if (flags & RELU)                                                                            \
                    value = value < 0.0f ? (vector)0.0f : value; /* not max: a NaN must stay one */          \
                if (flags & STREAM)                                                                          \
                    STREAM_STORE(value, (global vector *)TARGET(r, j));                                      \
                else                                                                                         \
                    STORE(value, TARGET(r, j));                                                              \
            }                                                                                                \
        }                                                                                                    \
    }

DEFINE_TILE(wide_tile, ROWS, PANELS)
DEFINE_TILE(narrow_tile, ROWS, 1)

// The work of one item of `gemm` (a_row = lda, a_depth = 1) and `gemm_transposed` (a_row = 1, a_depth = lda).
// `a` is the item's first row.
static inline __attribute__((always_inline)) void multiply(
    global const float *a, const size_t a_row, const size_t a_depth, global const float *b,
    const size_t b_panel, const size_t b_row, global const float *bias, global float *c, const size_t c_panel,
    const size_t c_row, const int m, const int n, const int k, const int rows_per_item,
    const int panels_per_item, const int flags) {
    const int first_row = get_global_id(0) * rows_per_item;
    const int last_row = min(m, first_row + rows_per_item);
    const int first_panel = get_global_id(1) * panels_per_item;
    const int last_panel = min(n / 16, first_panel + panels_per_item);
    for (int start = 0; start < k; start += DEPTH_BLOCK) {
        const int depth = min(DEPTH_BLOCK, k - start);
        // The bias and the ReLU belong to the whole sum, so only to the last block.
        const int block_flags = (start > 0 ? ACCUMULATE : flags & (ACCUMULATE | STREAM)) |
                                (start + depth == k ? flags & (ADD_BIAS | RELU) : 0);
        for (int panel = first_panel; panel < last_panel; panel += PANELS) {
            const int panels = min(PANELS, last_panel - panel);
            global const float *b_block = b + panel * b_panel + start * b_row;
            for (int row = first_row; row < last_row; row += ROWS) {
                const int rows = min(ROWS, last_row - row);
                global const float *a_block = a + (row - first_row) * a_row + start * a_depth;
                global float *c_block = c + panel * c_panel + row * c_row;
                // A constant number of rows: where addresses depend on it, a tile takes 1.5 times as long.
                if (panels == PANELS && rows == ROWS)
                    wide_tile(
                        a_block, a_row, a_depth, b_block, b_panel, b_row, bias + panel * 16, c_block, c_panel,
                        c_row, ROWS, depth, block_flags);
                else
                    for (int j = 0; j < panels; j++)
                        narrow_tile(
                            a_block, a_row, a_depth, b_block + j * b_panel, b_panel, b_row,
                            bias + (panel + j) * 16, c_block + j * c_panel, c_panel, c_row, rows, depth,
                            block_flags);
            }
        }
    }
}

// C = A · B with A row-major. `bias` has n elements, and is read only where `flags` has ADD_BIAS (any buffer
// may stand there otherwise). flags: 1 add to C instead of replacing it, 2 add the bias to each row, 4 ReLU
// at the end, 8 write C past the cache (for depths of one block, and C at multiples of a vector).
// global (ceil(m / rows_per_item), ceil(n/16 / panels_per_item)), local (1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm(
    global const float *restrict a, const int lda, global const float *restrict b, const int b_panel_stride,
    const int b_row_stride, global float *restrict c, const int c_panel_stride, const int c_row_stride,
    global const float *restrict bias, const int m, const int n, const int k, const int rows_per_item,
    const int panels_per_item, const int flags) {
    multiply(
        a + (size_t)get_global_id(0) * rows_per_item * lda, lda, 1, b, b_panel_stride, b_row_stride, bias, c,
        c_panel_stride, c_row_stride, m, n, k, rows_per_item, panels_per_item, flags);
}

// C = Aᵀ · B with A stored as [K][M], row length lda, or in blocks of that: a work-item's rows begin
// `a_stride` floats behind those of the one before. Else as `gemm`. global (ceil(m / rows_per_item),
// ceil(n/16 / panels_per_item)), local (1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_transposed(
    global const float *restrict a, const int lda, global const float *restrict b, const int b_panel_stride,
    const int b_row_stride, global float *restrict c, const int c_panel_stride, const int c_row_stride,
    global const float *restrict bias, const int m, const int n, const int k, const int rows_per_item,
    const int panels_per_item, const int flags, const int a_stride) {
    multiply(
        a + (size_t)get_global_id(0) * a_stride, 1, lda, b, b_panel_stride, b_row_stride, bias, c,
        c_panel_stride, c_row_stride, m, n, k, rows_per_item, panels_per_item, flags);
}

// Packs a matrix, row-major [K][N] with row length ldb and any N, into panels [ceil(N/width)][K][width] of
// any width; columns past N become zero. A work-item copies `depth_per_item` rows of one panel. global
// (ceil(k / depth_per_item), ceil(n / width)), local (1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_pack_b(
    global const float *restrict b, global float *restrict panels, const int k, const int n, const int ldb,
    const int depth_per_item, const int width) {
    const int first = get_global_id(0) * depth_per_item, last = min(k, first + depth_per_item);
    const int column = get_global_id(1) * width, columns = min(width, n - column);
    global const float *source = b + (size_t)first * ldb + column;
    global float *target = panels + (size_t)column * k + (size_t)first * width;
    for (int row = first; row < last; row++, source += ldb, target += width) {
        int j = 0;
        for (; j + VECTOR <= columns; j += VECTOR) STORE(LOAD(source + j), target + j);
        for (; j < columns; j++) target[j] = source[j];
        for (; j < width; j++) target[j] = 0;
    }
}

// Packs B given as its transpose, [N][K] with row length ldb and any N, into panels [ceil(N/width)][K][width]
// of at most 16 columns; columns past N become zero. A work-item writes `depth_per_item` rows of one panel.
// global (ceil(k / depth_per_item), ceil(n / width)), local (1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void gemm_pack_b_transposed(
    global const float *restrict b, global float *restrict panels, const int k, const int n, const int ldb,
    const int depth_per_item, const int width) {
    const int first = get_global_id(0) * depth_per_item, last = min(k, first + depth_per_item);
    const int column = get_global_id(1) * width, columns = min(width, n - column);
    global const float *source = b + (size_t)column * ldb;
    global float *target = panels + (size_t)column * k + (size_t)first * width;
    for (int row = first; row < last; row++, target += width) {
        float value[16];
        for (int j = 0; j < width; j++) value[j] = j < columns ? source[(size_t)j * ldb + row] : 0;
        for (int j = 0; j < width; j++) target[j] = value[j];
    }
}
