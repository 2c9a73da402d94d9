// Matrix products and 3×3 convolutions for devices whose work-groups share local memory: C[m × n] = A · B.
//
// A work-group computes TILE_M × TILE_N sums, a work-item ITEM_M × ITEM_N of them in registers. While a step
// of TILE_K of the depth is multiplied out of local memory, the next one is read from global memory into
// registers; it is then stored to the other half of local memory. That takes one barrier a step.
//
// Operands. x is a row of A or a column of B, k the depth.
//   *_ALONG_X 0  neighbours in memory follow k: x·pitch + (k/16)·step + k%16.
//                Row-major A: pitch = its row length, step 16. Panels [K/16][rows][16]: 16, 16·rows.
//   *_ALONG_X 1  neighbours in memory follow x: (x/16)·step + k·pitch + x%16; m or n is a multiple of 4.
//                Panels [N/16][K][16]: pitch 16, step 16·K. Row-major B: its row length, 16.
//   C            (n/16)·c_step + m·c_pitch + n%16; n is a multiple of 4.
// Weights lie in panels [outputs/16][depth][16]. Forward reads them along x, backward-data reads the same
// weights along k, so nothing is transposed first. Backward-weights reads both operands along x.
//
// depth is a multiple of 16; with DEPTH_EDGE 1 a multiple of 4, or any number if both operands lie along x.
// Sums run over k in ascending order, whatever the tile. The depth may be cut into slots: slot s sums k from
// s·slot_depth to less than (s + 1)·slot_depth, a multiple of 16, and writes at c + s·c_slot.
//
// CONVOLVE 1: forward. A is the image [batch][height][width][channels], m its pixels, depth 9·channels,
// channels a multiple of 16, a_pitch = channels.
// CONVOLVE 2: backward-data. A is dY with `channels` outputs, B the forward's weights with n inputs, b_pitch
// 16, b_step 16·n. Both: operands of less than 2³¹ floats, one slot.
//
// A work-item's rows lie in fours 32 apart, its columns in fours 16 apart: 32 neighbouring work-items form 8
// rows × 4 columns of items, so that a read of local memory serves several of them at once.
//
// flags of flags.h; bias [n], read only with ADD_BIAS. Batch strides in floats.
// Launch: global (⌈m/TILE_M⌉·ITEMS, ⌈n/TILE_N⌉, batch·slots), local (ITEMS, 1, 1).
//
// Tuning macros: ITEM (4 or 8), ITEM_ROWS (8 or 16: rows of a work-item in tiles of 128 rows, if ITEM is 8),
// TILE_K (8 or 16), DEPTH_UNROLL (4, 8 or 16). The caller chooses TILE_M and TILE_N (64 or 128).
// Macros of the family: SLOT_ITEMS (work-items of a group that adds slots) and SLOT_LEVELS (height of the
// highest tree in which slots are added).

#include "flags.h"

#if DEPTH_UNROLL > TILE_K
#undef DEPTH_UNROLL
#define DEPTH_UNROLL TILE_K
#endif

#if ITEM == 8 && TILE_M == 128
#define ITEM_M ITEM_ROWS
#else
#define ITEM_M ITEM
#endif
#define ITEM_N ITEM
#define ITEMS_M (TILE_M / ITEM_M)
#define ITEMS_N (TILE_N / ITEM_N)
#define ITEMS (ITEMS_M * ITEMS_N)
#define A_LOADS (TILE_M * TILE_K / 4 / ITEMS)
#define B_LOADS (TILE_N * TILE_K / 4 / ITEMS)

// Where the four floats `quad` of a tile of `size` rows or columns lie in it. Along k, two neighbouring
// work-items read eight floats of a row.
#define QUAD_X(along_x, quad, size) ((along_x) ? (quad) % ((size) / 4) * 4 : (quad) / 2 % (size))
#define QUAD_K(along_x, quad, size)                                                                          \
    ((along_x) ? (quad) / ((size) / 4) : (quad) % 2 * 4 + (quad) / 2 / (size) * 8)

// Row i and column j of a work-item within the tile.
#define ROW(i) (item_m / 8 * 8 * ITEM_M + (i) / 4 * 32 + item_m % 8 * 4 + (i) % 4)
#define COLUMN(j) (item_n / 4 * 4 * ITEM_N + (j) / 4 * 16 + item_n % 4 * 4 + (j) % 4)

#define UNROLL _Pragma("unroll")
#define PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(count) PRAGMA(unroll count)

// A source is a pointer. In the convolutions, which need registers for other things, it is an offset from a
// base that moves.
#if CONVOLVE
typedef uint source_type;
#define AT(base, source) ((base) + (source))
#define FROM(base, offset) (uint)(offset)
#else
typedef global const float *source_type;
#define AT(base, source) (source)
#define FROM(base, offset) ((base) + (offset))
#define MOVE(source, loads, distance) UNROLL for (int i = 0; i < loads; i++) source[i] += (distance);
#endif
#define LOAD(base, source) *(global const float4 *)AT(base, source)
#define OFFSET(along_x, x, k, pitch, step)                                                                   \
    ((along_x) ? (size_t)((x) / 16) * (step) + (x) % 16 + (size_t)(k) * (pitch)                              \
               : (size_t)(x) * (pitch) + (k))
#define IN_DEPTH(along_x, i, size, start)                                                                    \
    (!DEPTH_EDGE || (start) + QUAD_K(along_x, item + (i) * ITEMS, size) < last)

#if CONVOLVE
#define READ_A(start)                                                                                        \
    UNROLL for (int i = 0; i < A_LOADS; i++) a_next[i] =                                                     \
        inside[i] >> tap & 1 ? LOAD(a, a_source[i]) : (float4)0.0f;
#else
#define READ_A(start)                                                                                        \
    UNROLL for (int i = 0; i < A_LOADS; i++) a_next[i] =                                                     \
        IN_DEPTH(A_ALONG_X, i, TILE_M, start) ? LOAD(a, a_source[i]) : (float4)0.0f;
#endif
#define READ_B(start)                                                                                        \
    UNROLL for (int i = 0; i < B_LOADS; i++) b_next[i] =                                                     \
        IN_DEPTH(B_ALONG_X, i, TILE_N, start) ? LOAD(b, b_source[i]) : (float4)0.0f;
// Along k, steps of 8 lie in the first or the second half of sixteen.
#define ADVANCE(along_x, start, pitch, step)                                                                 \
    ((along_x) ? (long)TILE_K * (pitch) : TILE_K == 16 ? (step) : (start) % 16 == 0 ? 8 : (step)-8)
#define STORE(along_x, tile, next, loads, size)                                                              \
    UNROLL for (int i = 0; i < loads; i++) {                                                                 \
        local float *target = (local float *)(tile) + QUAD_K(along_x, item + i * ITEMS, size) * size +       \
                              QUAD_X(along_x, item + i * ITEMS, size);                                       \
        if (along_x) {                                                                                       \
            *(local float4 *)target = next[i];                                                               \
        } else {                                                                                             \
            target[0] = next[i].x;                                                                           \
            target[size] = next[i].y;                                                                        \
            target[2 * size] = next[i].z;                                                                    \
            target[3 * size] = next[i].w;                                                                    \
        }                                                                                                    \
    }

kernel __attribute__((reqd_work_group_size(ITEMS, 1, 1))) void product(
    global const float *a, global const float *b, global const float *bias, global float *c, const int m,
    const int n, const int depth, const int a_pitch, const int a_step, const int b_pitch, const int b_step,
    const int c_pitch, const int c_step, const ulong a_batch, const ulong b_batch, const ulong c_batch,
    const int slots, const int slot_depth, const ulong c_slot, const int flags
#if CONVOLVE
    ,
    const int height, const int width, const int channels
#endif
) {
    // As vectors, so that they lie where vectors may be read.
    local float4 a_tile[2][TILE_K * TILE_M / 4], b_tile[2][TILE_K * TILE_N / 4];
    const int item = get_local_id(0), lane = item % 32, warp = item / 32;
    const int item_m = warp % (ITEMS_M / 8) * 8 + lane % 8, item_n = warp / (ITEMS_M / 8) * 4 + lane / 8;
    // The group over all launches of a product.
    const int first_m = get_global_id(0) / ITEMS * TILE_M, first_n = get_global_id(1) * TILE_N;
    const int slot = get_global_id(2) % slots, batch = get_global_id(2) / slots;
    const int first = slot * slot_depth, last = min(depth, first + slot_depth);
    a += batch * a_batch + (A_ALONG_X ? (size_t)first * a_pitch : (size_t)(first / 16) * a_step);
    b += batch * b_batch + (B_ALONG_X ? (size_t)first * b_pitch : (size_t)(first / 16) * b_step);
    c += batch * c_batch + slot * c_slot;

    // What lies past the edge of A or B is read at the edge, and not stored.
    source_type a_source[A_LOADS], b_source[B_LOADS];
    float4 a_next[A_LOADS], b_next[B_LOADS];
#if CONVOLVE
    uint inside[A_LOADS];
#endif
    UNROLL for (int i = 0; i < A_LOADS; i++) {
        const int quad = item + i * ITEMS;
        const int x = min(first_m + QUAD_X(A_ALONG_X, quad, TILE_M), A_ALONG_X ? m - 4 : m - 1);
        a_source[i] = FROM(a, OFFSET(A_ALONG_X, x, QUAD_K(A_ALONG_X, quad, TILE_M), a_pitch, a_step));
#if CONVOLVE
        // Bit 3·ky + kx: whether that neighbour of the pixel lies in the image.
        const int column = x % width, row = x / width % height;
        const uint in_row = (column > 0 ? 1 : 0) | 2 | (column < width - 1 ? 4 : 0);
        inside[i] = (row > 0 ? in_row : 0) | in_row << 3 | (row < height - 1 ? in_row << 6 : 0);
#endif
    }
    UNROLL for (int i = 0; i < B_LOADS; i++) {
        const int quad = item + i * ITEMS;
        const int x = min(first_n + QUAD_X(B_ALONG_X, quad, TILE_N), B_ALONG_X ? n - 4 : n - 1);
        b_source[i] = FROM(b, OFFSET(B_ALONG_X, x, QUAD_K(B_ALONG_X, quad, TILE_N), b_pitch, b_step));
    }
#if CONVOLVE
    // A step lies in one of the nine neighbours. `a` and `b` move on, by the same for all work-items.
    int tap = 0, channel = 0;
    a -= (width + 1) * channels;
#if CONVOLVE == 2
    const long panel = (long)9 * n * 16;
    b += 8 * (long)n * 16;
#endif
#endif

    float4 sum[ITEM_M][ITEM_N / 4];
    UNROLL for (int i = 0; i < ITEM_M; i++) {
        UNROLL for (int j = 0; j < ITEM_N / 4; j++) sum[i][j] = 0.0f;
    }
    // The last slots may be empty.
    if (first < last) {
        READ_A(first)
        READ_B(first)
        STORE(A_ALONG_X, a_tile[0], a_next, A_LOADS, TILE_M)
        STORE(B_ALONG_X, b_tile[0], b_next, B_LOADS, TILE_N)
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    int which = 0;
    for (int start = first; start < last; start += TILE_K) {
        const bool more = start + TILE_K < last;
        if (more) {
#if CONVOLVE
            channel += TILE_K;
            a += TILE_K;
            if (channel == channels) {
                channel = 0;
                tap++;
                if (tap % 3 == 0) a += (width - 3) * channels;
            }
#if CONVOLVE == 2
            if (channel == 0)
                b += -(long)n * 16 - (channels / 16 - 1) * panel - (TILE_K == 16 ? 0 : 8);
            else
                b += ADVANCE(0, start, b_pitch, panel);
#else
            b += ADVANCE(1, start, b_pitch, b_step);
#endif
#else
            MOVE(a_source, A_LOADS, ADVANCE(A_ALONG_X, start, a_pitch, a_step))
            MOVE(b_source, B_LOADS, ADVANCE(B_ALONG_X, start, b_pitch, b_step))
#endif
            READ_A(start + TILE_K)
            READ_B(start + TILE_K)
        }
        local const float *a_now = (local const float *)a_tile[which] + ROW(0);
        local const float *b_now = (local const float *)b_tile[which] + COLUMN(0);
        UNROLL_BY(DEPTH_UNROLL) for (int k = 0; k < TILE_K; k++) {
            float4 a_part[ITEM_M / 4], b_part[ITEM_N / 4];
            UNROLL for (int i = 0; i < ITEM_M / 4; i++) a_part[i] =
                *(local const float4 *)(a_now + k * TILE_M + i * 32);
            UNROLL for (int j = 0; j < ITEM_N / 4; j++) b_part[j] =
                *(local const float4 *)(b_now + k * TILE_N + j * 16);
            UNROLL for (int j = 0; j < ITEM_N / 4; j++) {
                UNROLL for (int i = 0; i < ITEM_M / 4; i++) {
                    sum[4 * i][j] += a_part[i].x * b_part[j];
                    sum[4 * i + 1][j] += a_part[i].y * b_part[j];
                    sum[4 * i + 2][j] += a_part[i].z * b_part[j];
                    sum[4 * i + 3][j] += a_part[i].w * b_part[j];
                }
            }
        }
        which ^= 1;
        if (more) {
            STORE(A_ALONG_X, a_tile[which], a_next, A_LOADS, TILE_M)
            STORE(B_ALONG_X, b_tile[which], b_next, B_LOADS, TILE_N)
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
    UNROLL for (int j = 0; j < ITEM_N / 4; j++) {
        const int column = first_n + COLUMN(4 * j);
        if (column < n) {
            const float4 offset = flags & ADD_BIAS ? *(global const float4 *)(bias + column) : (float4)0.0f;
            global float *target = c + (size_t)(column / 16) * c_step + column % 16;
            UNROLL for (int i = 0; i < ITEM_M; i++) {
                const int row = first_m + ROW(i);
                if (row < m) {
                    global float4 *place = (global float4 *)(target + (size_t)row * c_pitch);
                    float4 value = sum[i][j] + offset;
                    if (flags & ACCUMULATE) value += *place;
                    // Not fmax: a NaN must stay one.
                    if (flags & RELU) value = value < 0.0f ? (float4)0.0f : value;
                    *place = value;
                }
            }
        }
    }
}

// c[i] = partial[i] + partial[c_slot + i] + … (+ bias[i % n], ReLU), i < count; n and count are multiples of
// 4. A work-item takes four. Launch: global (count/4), local (SLOT_ITEMS).
kernel __attribute__((reqd_work_group_size(SLOT_ITEMS, 1, 1))) void add_slots(
    global const float4 *restrict partial, global const float4 *restrict bias, global float4 *restrict c,
    const int count, const int n, const int slots, const ulong c_slot, const int flags) {
    const int i = get_global_id(0);
    if (4 * i >= count) return;
    float4 sum = partial[i];
    for (int slot = 1; slot < slots; slot++) sum += partial[slot * (c_slot / 4) + i];
    if (flags & ADD_BIAS) sum += bias[i % (n / 4)];
    if (flags & RELU) sum = sum < 0.0f ? (float4)0.0f : sum;
    c[i] = sum;
}

// c[i] = the sum of partial[s·c_slot + i] over the slots s, added in a binary tree, i < count; count is a
// multiple of 4, and the number of slots a power of two up to 2^SLOT_LEVELS. A work-item takes four.
// Launch: global (count/4), local (SLOT_ITEMS).
kernel __attribute__((reqd_work_group_size(SLOT_ITEMS, 1, 1))) void add_slots_in_tree(
    global const float4 *restrict partial, global float4 *restrict c, const int count, const int slots,
    const ulong c_slot) {
    const int i = get_global_id(0);
    if (4 * i >= count) return;
    // The sums that wait for their sibling, by height. The indices are known when the loop is unrolled, so
    // that they stay in registers.
    float4 waiting[SLOT_LEVELS], sum = 0.0f;
    for (int slot = 0; slot < slots; slot++) {
        sum = partial[slot * (c_slot / 4) + i];
        bool waits = false;
        UNROLL for (int level = 0; level < SLOT_LEVELS; level++) {
            if (waits) continue;
            if (slot >> level & 1) {
                sum = waiting[level] + sum;
            } else {
                waiting[level] = sum;
                waits = true;
            }
        }
    }
    c[i] = sum;
}
