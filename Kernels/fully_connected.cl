// Fully connected layer, backward-data, for devices that run a work-item on a CPU core. The other two passes are matrix products of
// gemm.cl:
//   forward           Y[batch][outputs] = X · W + bias: `gemm` (B = W: b_panel_stride = 16·inputs, b_row_stride = 16; flags: bias, ReLU)
//   backward-weights  dW = Xᵀ · dY: `gemm_transposed` (B = dY row-major: b_panel_stride = 16, b_row_stride = outputs; C in panels:
//                     c_panel_stride = 16·inputs, c_row_stride = 16)
// and the bias' gradient is `bias_backward` and `reduce_slots` of convolution.cl with pixels = batch.
//
// Layouts. X[batch][inputs], Y[batch][outputs]; weights in panels [outputs/16][inputs][16]; inputs and outputs are multiples of 16.
//
// Backward-data, dX = dY · Wᵀ, needs panels of Wᵀ. A work-item owns PANELS·16 inputs and the whole batch: it transposes DEPTH_BLOCK outputs
// of its weights at a time, 16 × 16 values in registers, to local memory (a group is one item, so there is no barrier), and multiplies the
// rows of dY by them. So the weights are read once, in runs of PANELS·1 KB, and no transposed copy of them is ever stored. Sums run over
// the outputs in ascending order.
//
// Tuning macros:
//   VECTOR       floats in a register, 8 or 16      (8: AVX2, 16: AVX-512)
//   ROWS         rows of a tile
//   PANELS       panels of a tile                   (VECTOR 8: 1, VECTOR 16: 4)
//   DEPTH_BLOCK  outputs transposed at a time, a multiple of 16; PANELS · DEPTH_BLOCK · 64 bytes of local memory

#ifndef VECTOR
#define VECTOR 8
#endif
#ifndef ROWS
#define ROWS 6
#endif
#ifndef PANELS
#define PANELS (VECTOR == 16 ? 4 : 1)
#endif
#ifndef DEPTH_BLOCK
#define DEPTH_BLOCK 128
#endif

#if VECTOR == 16
#define VECTORS_PER_PANEL 1
typedef float16 vector;
#define LOAD(pointer) vload16(0, pointer)
#define INTERLEAVE_LOW(a, b)                                                                                                              \
    (vector)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3, a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7)
#define INTERLEAVE_HIGH(a, b)                                                                                                             \
    (vector)(a.s8, b.s8, a.s9, b.s9, a.sa, b.sa, a.sb, b.sb, a.sc, b.sc, a.sd, b.sd, a.se, b.se, a.sf, b.sf)
#else
#define VECTORS_PER_PANEL 2
typedef float8 vector;
#define LOAD(pointer) vload8(0, pointer)
#define INTERLEAVE_LOW(a, b) (vector)(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3)
#define INTERLEAVE_HIGH(a, b) (vector)(a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7)
#endif

// A vector at any address of a float: some runtimes' `vstore16` is four stores.
typedef vector unaligned_vector __attribute__((aligned(4)));
#define STORE(space, value, pointer) *(space unaligned_vector *)(pointer) = (value)

// Transposes VECTOR × VECTOR values, rows of both 16 floats apart: log2(VECTOR) rounds, each interleaving row i with row i + VECTOR/2.
static inline __attribute__((always_inline)) void transpose_block(global const float *source, local float *target) {
    vector row[VECTOR], next[VECTOR];
    _Pragma("unroll") for (int i = 0; i < VECTOR; i++) row[i] = LOAD(source + i * 16);
    _Pragma("unroll") for (int round = 1; round < VECTOR; round *= 2) {
        _Pragma("unroll") for (int i = 0; i < VECTOR / 2; i++) {
            next[2 * i] = INTERLEAVE_LOW(row[i], row[i + VECTOR / 2]);
            next[2 * i + 1] = INTERLEAVE_HIGH(row[i], row[i + VECTOR / 2]);
        }
        _Pragma("unroll") for (int i = 0; i < VECTOR; i++) row[i] = next[i];
    }
    _Pragma("unroll") for (int i = 0; i < VECTOR; i++) STORE(local, row[i], target + i * 16);
}

// dx[batch][inputs] = dy[batch][outputs] · Wᵀ. global (ceil(inputs/16 / PANELS)), local (1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void fully_connected_backward_data(
    global const float *restrict dy, global const float *restrict weights, global float *restrict dx, const int batch, const int inputs,
    const int outputs) {
    local float block[PANELS * DEPTH_BLOCK * 16];
    const int first_panel = get_global_id(0) * PANELS;
    const int panels = min(PANELS, inputs / 16 - first_panel);
    for (int start = 0; start < outputs; start += DEPTH_BLOCK) {
        const int depth = min(DEPTH_BLOCK, outputs - start);
        for (int k = 0; k < depth; k += 16) {
            for (int p = 0; p < PANELS; p++) {
                // Panels past the last repeat it, and are not stored in the end.
                global const float *source = weights + ((size_t)(start + k) / 16 * inputs + (first_panel + min(p, panels - 1)) * 16) * 16;
                local float *target = block + (p * DEPTH_BLOCK + k) * 16;
                for (int i = 0; i < 16; i += VECTOR)
                    for (int o = 0; o < 16; o += VECTOR) transpose_block(source + i * 16 + o, target + o * 16 + i);
            }
        }
        for (int first = 0; first < batch; first += ROWS) {
            vector sum[ROWS][PANELS * VECTORS_PER_PANEL];
            global const float *row[ROWS];
            _Pragma("unroll") for (int r = 0; r < ROWS; r++) {
                row[r] = dy + (size_t)min(first + r, batch - 1) * outputs + start;
                _Pragma("unroll") for (int j = 0; j < PANELS * VECTORS_PER_PANEL; j++) sum[r][j] = 0;
            }
            local const float *b = block;
            for (int k = 0; k < depth; k++, b += 16) {
                vector column[PANELS * VECTORS_PER_PANEL];
                _Pragma("unroll") for (int j = 0; j < PANELS * VECTORS_PER_PANEL; j++) column[j] =
                    LOAD(b + j / VECTORS_PER_PANEL * DEPTH_BLOCK * 16 + j % VECTORS_PER_PANEL * VECTOR);
                _Pragma("unroll") for (int r = 0; r < ROWS; r++) {
                    const vector value = row[r][k];
                    _Pragma("unroll") for (int j = 0; j < PANELS * VECTORS_PER_PANEL; j++) sum[r][j] += value * column[j];
                }
            }
            _Pragma("unroll") for (int r = 0; r < ROWS; r++) {
                _Pragma("unroll") for (int j = 0; j < PANELS * VECTORS_PER_PANEL; j++) {
                    if (first + r >= batch || j / VECTORS_PER_PANEL >= panels) continue;
                    global float *target = dx + (size_t)(first + r) * inputs + first_panel * 16 + j * VECTOR;
                    STORE(global, start > 0 ? sum[r][j] + LOAD(target) : sum[r][j], target);
                }
            }
        }
    }
}
