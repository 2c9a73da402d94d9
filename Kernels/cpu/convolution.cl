// Convolution 3×3, stride 1, padding 1, directly on NHWC, for devices that run a work-item on a CPU core; and
// `im2col`, which turns it into a matrix product of gemm.cl.
//
// Layouts. Activations [batch][height][width][channels], channels = 4 for images (the fourth lane is zero),
// else a multiple of 16.
//   weights: panels [outputs/16][3][3][inputs][16]; bias [outputs].
//   A pixel's index is (image·height + y)·width + x.
//
// Forward is a matrix product over the depth 9·inputs whose rows of A are read in place: a tile is ROWS
// pixels × PANELS·16 output channels of sums held in registers, and a neighbour outside the image is read
// from a row of zeros. Backward-data is the forward kernel on the output's gradient with the weights that
// `convolution_flip_weights` makes. Backward-weights: a work-item keeps the sums of one ky, three kx,
// WEIGHT_CHANNELS input channels and VECTOR output channels in registers while it walks over its rows of
// pixels. Sums that span work-items go to numbered slots which `reduce_slots` adds in ascending order, so
// that no result depends on the number of compute units.
//
// Tuning macros:
//   VECTOR           floats in a register, 8 or 16 (8: AVX2, 16: AVX-512)
//   ROWS             pixels of a forward tile
//   PANELS           panels of a forward tile
//   DEPTH_LIMIT      largest depth of a forward pass; deeper ones go by ky in three passes, so that the
//                    weights stay in the cache
//   WEIGHT_CHANNELS  input channels of a backward-weights tile, a divisor of 16

#include "flags.h"
#include "vector.h"

typedef float16 window_value;
#include "pooling.h"

// Where a pixel stands.
typedef struct {
    int x, y;
} position;

// The sums of ROWS pixels × panels·16 channels over the rows ky_first ≤ ky < ky_last of the filter, of which
// `read_channels` of `channels` inputs are not always zero. Pixels past `pixels` repeat the last one and are
// not stored.
#define DEFINE_TILE(name, panels)                                                                            \
    static inline __attribute__((always_inline)) void name(                                                  \
        global const float *x, const position *restrict at, global const float *zeros,                       \
        global const float *weights, const size_t panel, global const float *bias, global float *y,          \
        const int pixels, const int height, const int width, const int channels, const int read_channels,    \
        const int outputs, const int ky_first, const int ky_last, const int flags) {                         \
        /* All pixels lie in one row, and all their neighbours inside the image. */                          \
        const int is_inner = pixels >= ROWS && at[0].x > 0 && at[0].x + ROWS < width && at[0].y > 0 &&       \
                             at[0].y < height - 1;                                                           \
        vector sum[ROWS][panels * VECTORS_PER_PANEL];                                                        \
        _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                                   \
            _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) sum[r][j] = 0;            \
        }                                                                                                    \
        for (int ky = ky_first; ky < ky_last; ky++) {                                                        \
            for (int kx = 0; kx < 3; kx++) {                                                                 \
                global const float *row[ROWS];                                                               \
                if (is_inner) {                                                                              \
                    global const float *first = x + ((ky - 1) * width + kx - 1) * (long)channels;            \
                    _Pragma("unroll") for (int r = 0; r < ROWS; r++) row[r] = first + r * channels;          \
                } else _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                    \
                    const int inside =                                                                       \
                        (uint)(at[r].y + ky - 1) < (uint)height && (uint)(at[r].x + kx - 1) < (uint)width;   \
                    row[r] = inside ? x + (min(r, pixels - 1) + (ky - 1) * width + kx - 1) * (long)channels  \
                                    : zeros;                                                                 \
                }                                                                                            \
                global const float *b = weights + (ky * 3 + kx) * channels * 16;                             \
                for (int c = 0; c < read_channels; c++, b += 16) {                                           \
                    vector column[panels * VECTORS_PER_PANEL];                                               \
                    _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) column[j] =       \
                        LOAD(b + j / VECTORS_PER_PANEL * panel + j % VECTORS_PER_PANEL * VECTOR);            \
                    _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                       \
                        const vector value = row[r][c];                                                      \
                        _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) sum[r][j] +=  \
                            value * column[j];                                                               \
                    }                                                                                        \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("unroll") for (int r = 0; r < ROWS; r++) {                                                   \
            _Pragma("unroll") for (int j = 0; j < panels * VECTORS_PER_PANEL; j++) {                         \
                if (r >= pixels) continue;                                                                   \
                global float *target = y + (size_t)r * outputs + j * VECTOR;                                 \
                vector value = sum[r][j];                                                                    \
                if (ky_first > 0) value += LOAD(target);                                                     \
                if (flags & ADD_BIAS) value += LOAD(bias + j * VECTOR);                                      \
                if (flags & RELU)                                                                            \
                    value = value < 0.0f ? (vector)0.0f : value; /* not max: a NaN must stay one */          \
                STORE(value, target);                                                                        \
            }                                                                                                \
        }                                                                                                    \
    }

DEFINE_TILE(wide_tile, PANELS)
#if PANELS > 2
DEFINE_TILE(pair_tile, 2)
#endif
DEFINE_TILE(narrow_tile, 1)

// The work of one item of the two forward kernels.
static inline __attribute__((always_inline)) void convolve(
    global const float *x, global const float *weights, global const float *bias, global const float *zeros,
    global float *y, const int batch, const int height, const int width, const int channels,
    const int read_channels, const int outputs, const int pixels_per_item, const int panels_per_item,
    const int flags) {
    const int all_pixels = batch * height * width;
    const int first_pixel = get_global_id(0) * pixels_per_item;
    const int last_pixel = min(all_pixels, first_pixel + pixels_per_item);
    const int first_panel = get_global_id(1) * panels_per_item;
    const int last_panel = min(outputs / 16, first_panel + panels_per_item);
    const size_t panel_stride = (size_t)9 * channels * 16;
    const int ky_step = 9 * channels > DEPTH_LIMIT ? 1 : 3;
    int panel = first_panel;
    while (panel < last_panel) {
        const int wide = panel + PANELS <= last_panel, pair = PANELS > 2 && panel + 2 <= last_panel;
        global const float *panel_weights = weights + panel * panel_stride;
        for (int ky = 0; ky < 3; ky += ky_step) {
            // The bias and the ReLU belong to the whole sum, so only to the last pass.
            const int pass_flags = ky + ky_step == 3 ? flags : 0;
            for (int pixel = first_pixel; pixel < last_pixel; pixel += ROWS) {
                position at[ROWS];
                at[0].x = pixel % width;
                at[0].y = pixel / width % height;
                _Pragma("unroll") for (int r = 1; r < ROWS; r++) {
                    // Past the last pixel the position stays, as the address does.
                    const int step = pixel + r < last_pixel, wrap = at[r - 1].x + step == width;
                    at[r].x = wrap ? 0 : at[r - 1].x + step;
                    at[r].y = !wrap ? at[r - 1].y : at[r - 1].y + 1 == height ? 0 : at[r - 1].y + 1;
                }
                global const float *source = x + pixel * (size_t)channels;
                global float *target = y + pixel * (size_t)outputs + panel * 16;
                if (wide)
                    wide_tile(
                        source, at, zeros, panel_weights, panel_stride, bias + panel * 16, target,
                        last_pixel - pixel, height, width, channels, read_channels, outputs, ky, ky + ky_step,
                        pass_flags);
#if PANELS > 2
                else if (pair)
                    pair_tile(
                        source, at, zeros, panel_weights, panel_stride, bias + panel * 16, target,
                        last_pixel - pixel, height, width, channels, read_channels, outputs, ky, ky + ky_step,
                        pass_flags);
#endif
                else
                    narrow_tile(
                        source, at, zeros, panel_weights, panel_stride, bias + panel * 16, target,
                        last_pixel - pixel, height, width, channels, read_channels, outputs, ky, ky + ky_step,
                        pass_flags);
            }
        }
        panel += wide ? PANELS : pair ? 2 : 1;
    }
}

// y[batch][height][width][outputs] = convolution of x[batch][height][width][inputs], inputs a multiple of 16;
// flags: 2 add the bias, 4 ReLU. `zeros` holds at least `inputs` zeros. `bias` is read only with flag 2 (any
// buffer may stand there otherwise). Backward-data: x = the output's gradient, y = the input's, `weights`
// from `convolution_flip_weights`, flags 0.
// global (ceil(batch·height·width / pixels_per_item), ceil(outputs/16 / panels_per_item)), local (1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void convolution_forward(
    global const float *restrict x, global const float *restrict weights, global const float *restrict bias,
    global const float *restrict zeros, global float *restrict y, const int batch, const int height,
    const int width, const int inputs, const int outputs, const int pixels_per_item,
    const int panels_per_item, const int flags) {
    convolve(
        x, weights, bias, zeros, y, batch, height, width, inputs, inputs, outputs, pixels_per_item,
        panels_per_item, flags);
}

// The same for images: x[batch][height][width][4], whose fourth lane is not read. `zeros` holds at least 4
// zeros. Launched like `convolution_forward`.
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void convolution_forward_image(
    global const float *restrict x, global const float *restrict weights, global const float *restrict bias,
    global const float *restrict zeros, global float *restrict y, const int batch, const int height,
    const int width, const int outputs, const int pixels_per_item, const int panels_per_item,
    const int flags) {
    convolve(
        x, weights, bias, zeros, y, batch, height, width, 4, 3, outputs, pixels_per_item, panels_per_item,
        flags);
}

// The weights of backward-data, [inputs/16][3][3][outputs][16]: turned by 180 degrees, inputs and outputs
// exchanged. Both are multiples of 16.
// A work-item transposes 16 × 16 weights of one tap. global (inputs/16, 9, outputs/16), local (1, 1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void convolution_flip_weights(
    global const float *restrict weights, global float *restrict flipped, const int inputs,
    const int outputs) {
    const int input_panel = get_global_id(0), tap = get_global_id(1), output_panel = get_global_id(2);
    global const float *source =
        weights + ((size_t)(output_panel * 9 + tap) * inputs + input_panel * 16) * 16;
    global float *target = flipped + ((size_t)(input_panel * 9 + 8 - tap) * outputs + output_panel * 16) * 16;
    for (int o = 0; o < 16; o++)
        for (int i = 0; i < 16; i++) target[o * 16 + i] = source[i * 16 + o];
}

// Adds to sum[kx][c] the products of one pixel for kx_first ≤ kx < kx_last; `x` points at the pixel's left
// neighbour.
#define ADD_PIXEL(tile_channels, vectors, kx_first, kx_last, x, dy)                                          \
    {                                                                                                        \
        vector gradient[vectors];                                                                            \
        _Pragma("unroll") for (int j = 0; j < vectors; j++) gradient[j] = LOAD((dy) + j * VECTOR);           \
        _Pragma("unroll") for (int kx = kx_first; kx < kx_last; kx++) {                                      \
            _Pragma("unroll") for (int c = 0; c < tile_channels; c++) {                                      \
                const vector value = (x)[kx * channels + c];                                                 \
                _Pragma("unroll") for (int j = 0; j < vectors; j++) sum[kx][c][j] += value * gradient[j];    \
            }                                                                                                \
        }                                                                                                    \
    }

// Defines the work of one item of a backward-weights kernel: image rows first_row ≤ row < last_row (counted
// through the batch), one ky, three kx, tile_channels inputs from `channel` on and vectors·VECTOR outputs
// from `output` on.
#define DEFINE_WEIGHT_TILE(name, tile_channels, vectors)                                                     \
    static inline __attribute__((always_inline)) void name(                                                  \
        global const float *x, global const float *dy, global float *slot, const int first_row,              \
        const int last_row, const int height, const int width, const int channels, const int outputs,        \
        const int ky, const int channel, const int output, const int accumulate) {                           \
        vector sum[3][tile_channels][vectors];                                                               \
        _Pragma("unroll") for (int kx = 0; kx < 3; kx++) {                                                   \
            _Pragma("unroll") for (int c = 0; c < tile_channels; c++) {                                      \
                _Pragma("unroll") for (int j = 0; j < vectors; j++) sum[kx][c][j] = 0;                       \
            }                                                                                                \
        }                                                                                                    \
        for (int row = first_row; row < last_row; row++) {                                                   \
            if ((uint)(row % height + ky - 1) >= (uint)height) continue;                                     \
            global const float *gradients = dy + (size_t)row * width * outputs + output;                     \
            global const float *neighbours = x + ((long)(row + ky - 1) * width - 1) * channels + channel;    \
            if (width == 1) {                                                                                \
                ADD_PIXEL(tile_channels, vectors, 1, 2, neighbours, gradients)                               \
                continue;                                                                                    \
            }                                                                                                \
            ADD_PIXEL(tile_channels, vectors, 1, 3, neighbours, gradients)                                   \
            for (int column = 2; column < width; column++) {                                                 \
                gradients += outputs;                                                                        \
                neighbours += channels;                                                                      \
                ADD_PIXEL(tile_channels, vectors, 0, 3, neighbours, gradients)                               \
            }                                                                                                \
            ADD_PIXEL(tile_channels, vectors, 0, 2, neighbours + channels, gradients + outputs)              \
        }                                                                                                    \
        _Pragma("unroll") for (int j = 0; j < vectors; j++) {                                                \
            const int o = output + j * VECTOR;                                                               \
            global float *target =                                                                           \
                slot + ((size_t)(o / 16 * 9 + ky * 3) * channels + channel) * 16 + o % 16;                   \
            _Pragma("unroll") for (int kx = 0; kx < 3; kx++) {                                               \
                _Pragma("unroll") for (int c = 0; c < tile_channels; c++) {                                  \
                    global float *place = target + (kx * channels + c) * 16;                                 \
                    STORE(accumulate ? sum[kx][c][j] + LOAD(place) : sum[kx][c][j], place);                  \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
    }

DEFINE_WEIGHT_TILE(weight_tile, WEIGHT_CHANNELS, 1)
DEFINE_WEIGHT_TILE(image_weight_tile, 3, 1)
#if VECTOR == 16
DEFINE_WEIGHT_TILE(wide_image_weight_tile, 3, 2)
#endif

// The weights' gradient, from x[batch][height][width][inputs] and the output's gradient
// dy[batch][height][width][outputs]; inputs a multiple of 16.
// Image rows (batch·height of them) first_row + s·rows_per_slot … up to rows_per_slot of them, and before
// last_row, are summed to slots[s][outputs/16][3][3][inputs][16], replacing it or (accumulate = 1) adding to
// it. `reduce_slots` then adds the slots. global (3·inputs/WEIGHT_CHANNELS, outputs/VECTOR, ceil((last_row −
// first_row) / rows_per_slot)), local (1, 1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void convolution_backward_weights(
    global const float *restrict x, global const float *restrict dy, global float *restrict slots,
    const int first_row, const int last_row, const int rows_per_slot, const int height, const int width,
    const int inputs, const int outputs, const int accumulate) {
    const int ky = get_global_id(0) % 3, channel = get_global_id(0) / 3 * WEIGHT_CHANNELS,
              output = get_global_id(1) * VECTOR;
    const int slot_first = first_row + (int)get_global_id(2) * rows_per_slot;
    weight_tile(
        x, dy, slots + get_global_id(2) * inputs * outputs * 9, slot_first,
        min(last_row, slot_first + rows_per_slot), height, width, inputs, outputs, ky, channel, output,
        accumulate);
}

// The same for images, x[batch][height][width][4]: the fourth lane's gradient is zero.
// global (3, ceil(outputs / 32), ceil((last_row − first_row) / rows_per_slot)), local (1, 1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void convolution_backward_weights_image(
    global const float *restrict x, global const float *restrict dy, global float *restrict slots,
    const int first_row, const int last_row, const int rows_per_slot, const int height, const int width,
    const int outputs, const int accumulate) {
    const int ky = get_global_id(0), first_output = get_global_id(1) * 32,
              last_output = min(outputs, first_output + 32);
    const int slot_first = first_row + (int)get_global_id(2) * rows_per_slot,
              slot_last = min(last_row, slot_first + rows_per_slot);
    global float *slot = slots + get_global_id(2) * outputs * 36;
    int output = first_output;
#if VECTOR == 16
    if (output + 32 == last_output) {
        wide_image_weight_tile(
            x, dy, slot, slot_first, slot_last, height, width, 4, outputs, ky, 0, output, accumulate);
        output += 32;
    }
#endif
    for (; output < last_output; output += VECTOR)
        image_weight_tile(
            x, dy, slot, slot_first, slot_last, height, width, 4, outputs, ky, 0, output, accumulate);
    const float16 zero = 0;
    for (int panel = first_output / 16; panel < last_output / 16; panel++)
        for (int kx = 0; kx < 3; kx++) vstore16(zero, 0, slot + ((panel * 9 + ky * 3 + kx) * 4 + 3) * 16);
}

// The image layer's gradients of weights and bias from the gradient behind its ReLU and 2×2 max-pooling, with
// even heights and widths. x[batch][height][width][4]; y, the layer's output, says where the gradient of a
// window goes: to its first maximum in the order of reading, if that is above 0. A slot sums rows_per_slot
// rows of windows: slots[s][outputs/16][28][16], the 27 lines (ky, kx, colour) of a panel and its bias. The
// slots are also the accumulators. Sums stay in registers while up to SEGMENT windows pass: all 27 lines if a
// register holds 16 floats, else the 9 lines of one ky and half a panel. The image is copied with its border
// of zeros, so that no pixel is a special case. `add_image_gradients` then adds the slots. global
// (ceil(batch·height/2 / rows_per_slot)), local (1).
#define SEGMENT 64  // windows copied at a time
#define STRIDE ((2 * SEGMENT + 2) * 4)

kernel __attribute__((reqd_work_group_size(1, 1, 1))) void convolution_backward_weights_image_pooled(
    global const float *restrict x, global const float *restrict y, global const float *restrict gradient,
    global float *restrict slots, const int batch, const int height, const int width, const int outputs,
    const int rows_per_slot) {
    const int window_rows = height / 2, window_columns = width / 2;
    const int first = get_global_id(0) * rows_per_slot,
              last = min(batch * window_rows, first + rows_per_slot);
    global float *slot = slots + (size_t)get_global_id(0) * outputs * 28;
    const float16 zero = 0;
    for (int i = 0; i < outputs / 16 * 28; i++) vstore16(zero, i, slot);
    float lines[4 * STRIDE];
#if VECTOR < 16
    float gradients[SEGMENT * 4 * 16];
#endif
    for (int row = first; row < last; row++) {
        const int image = row / window_rows, top = row % window_rows * 2;
        for (int window = 0; window < window_columns; window += SEGMENT) {
            const int windows = min(SEGMENT, window_columns - window);
            for (int i = 0; i < 4; i++) {
                const bool row_inside = (uint)(top - 1 + i) < (uint)height;
                global const float *source =
                    x + (((long)image * height + top - 1 + i) * width + 2 * window - 1) * 4;
                for (int k = 0; k < 2 * windows + 2; k++) {
                    const bool inside = row_inside && (uint)(2 * window - 1 + k) < (uint)width;
                    vstore4(inside ? vload4(k, source) : (float4)0, k, lines + i * STRIDE);
                }
            }
            for (int panel = 0; panel < outputs / 16; panel++) {
                global const float *upper =
                    y + (((size_t)image * height + top) * width + 2 * window) * outputs + panel * 16;
                global const float *lower = upper + (size_t)width * outputs;
                global const float *behind =
                    gradient + ((size_t)row * window_columns + window) * outputs + panel * 16;
                global float *target = slot + panel * 28 * 16;
                float16 bias = vload16(27, target);
#if VECTOR == 16
                float16 sum[27];
                _Pragma("unroll") for (int i = 0; i < 27; i++) sum[i] = vload16(i, target);
#endif
                for (int w = 0; w < windows; w++) {
                    const float16 outputs_of_window[4] = {
                        vload16(0, upper), vload16(0, upper + outputs), vload16(0, lower),
                        vload16(0, lower + outputs)};
                    float16 to[4];
                    send_through_relu(vload16(0, behind), outputs_of_window, to);
                    bias += (to[0] + to[1]) + (to[2] + to[3]);
#if VECTOR == 16
                    const float *pixel = lines + 2 * w * 4;
                    _Pragma("unroll") for (int k = 0; k < 4; k++) {
                        _Pragma("unroll") for (int i = 0; i < 27; i++) sum[i] +=
                            pixel[(k / 2 + i / 9) * STRIDE + (k % 2 + i / 3 % 3) * 4 + i % 3] * to[k];
                    }
#else
                    _Pragma("unroll") for (int k = 0; k < 4; k++) vstore16(to[k], w * 4 + k, gradients);
#endif
                    upper += 2 * outputs;
                    lower += 2 * outputs;
                    behind += outputs;
                }
                vstore16(bias, 27, target);
#if VECTOR == 16
                _Pragma("unroll") for (int i = 0; i < 27; i++) vstore16(sum[i], i, target);
#else
                for (int part = 0; part < 3 * VECTORS_PER_PANEL; part++) {
                    const int ky = part % 3, lane = part / 3 * VECTOR;
                    global float *lines_of_ky = target + ky * 9 * 16 + lane;
                    vector sum[9];
                    _Pragma("unroll") for (int i = 0; i < 9; i++) sum[i] = LOAD(lines_of_ky + i * 16);
                    for (int w = 0; w < windows; w++) {
                        const float *pixel = lines + ky * STRIDE + 2 * w * 4;
                        _Pragma("unroll") for (int k = 0; k < 4; k++) {
                            const vector value = LOAD(gradients + (w * 4 + k) * 16 + lane);
                            _Pragma("unroll") for (int i = 0; i < 9; i++) sum[i] +=
                                pixel[k / 2 * STRIDE + (k % 2 + i / 3) * 4 + i % 3] * value;
                        }
                    }
                    _Pragma("unroll") for (int i = 0; i < 9; i++) STORE(sum[i], lines_of_ky + i * 16);
                }
#endif
            }
        }
    }
}

// Adds the slots of `convolution_backward_weights_image_pooled` in ascending order. A work-item: one line of
// a panel. global (outputs/16, 28), local (1, 1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void add_image_gradients(
    global const float *restrict slots, global float *restrict weights, global float *restrict bias,
    const int slot_count, const int outputs) {
    const int panel = get_global_id(0), line = get_global_id(1);
    float16 sum = vload16(panel * 28 + line, slots);
    for (int slot = 1; slot < slot_count; slot++)
        sum += vload16(panel * 28 + line, slots + (size_t)slot * outputs * 28);
    if (line == 27) {
        vstore16(sum, panel, bias);
        return;
    }
    vstore16(sum, (panel * 9 + line / 3) * 4 + line % 3, weights);
    // The fourth lane's gradient is zero.
    if (line % 3 == 2) vstore16((float16)0, (panel * 9 + line / 3) * 4 + 3, weights);
}

// result[i] = slots[0][i] + slots[1][i] + …, i < count, count a multiple of 16.
// A work-item sums `panels_per_item` runs of 16. global (ceil(count/16 / panels_per_item)), local (1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void reduce_slots(
    global const float *restrict slots, global float *restrict result, const int slot_count, const int count,
    const int panels_per_item) {
    const int first = get_global_id(0) * panels_per_item, last = min(count / 16, first + panels_per_item);
    for (int i = first * 16; i < last * 16; i += VECTOR) {
        vector sum = LOAD(slots + i);
        for (int slot = 1; slot < slot_count; slot++) sum += LOAD(slots + (size_t)slot * count + i);
        STORE(sum, result + i);
    }
}

// First stage of the bias' gradient: slots[s][channels] = sum of dy over pixels s·pixels_per_slot …;
// `reduce_slots` (count = channels) adds the slots.
// With `mask` (0 or 1), dy is first set to zero, in place, where the layer's output y is not positive: the
// ReLU's gradient. y is not read without. channels is a multiple of 16. A work-item passes over one slot's
// pixels. global (ceil(pixels / pixels_per_slot)), local (1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void bias_backward(
    global float *restrict dy, global const float *restrict y, global float *restrict slots, const int pixels,
    const int channels, const int pixels_per_slot, const int mask) {
    const int first = get_global_id(0) * pixels_per_slot, last = min(pixels, first + pixels_per_slot);
    global float *slot = slots + get_global_id(0) * channels;
    const vector zero = 0;
    for (int c = 0; c < channels; c += VECTOR) STORE(zero, slot + c);
    // Four pixels a turn: the slot is read and written once for them.
    for (int pixel = first; pixel < last; pixel += 4) {
        const int count = min(4, last - pixel);
        for (int c = 0; c < channels; c += VECTOR) {
            global float *gradient = dy + (size_t)pixel * channels + c;
            global const float *output = y + (size_t)pixel * channels + c;
            vector sum = LOAD(slot + c);
            for (int i = 0; i < count; i++, gradient += channels, output += channels) {
                vector value = LOAD(gradient);
                if (mask) {
                    value = select(zero, value, (vector_mask)(LOAD(output) > zero));
                    STORE(value, gradient);
                }
                sum += value;
            }
            STORE(sum, slot + c);
        }
    }
}

// The rows of A of the convolution as a matrix product: columns[p][3][3][channels] = the neighbourhood of
// pixel first_pixel + p of x[batch][height][width][channels], zero outside the image. channels is 4 or a
// multiple of 16.
// Then, with gemm.cl: y = columns · weights (`gemm`); the input's gradient = columns of dy · flipped weights;
// the weights' gradient = columnsᵀ · dy (`gemm_transposed`, c_panel_stride = 16·9·channels, c_row_stride =
// 16), each over chunks of pixels that keep `columns` small.
// A work-item writes `pixels_per_item` rows. global (ceil(pixels / pixels_per_item)), local (1).
kernel __attribute__((reqd_work_group_size(1, 1, 1))) void im2col(
    global const float *restrict x, global float *restrict columns, const int first_pixel, const int pixels,
    const int height, const int width, const int channels, const int pixels_per_item) {
    const int first = get_global_id(0) * pixels_per_item, last = min(pixels, first + pixels_per_item);
    global float *target = columns + (size_t)first * 9 * channels;
    const vector zero = 0;
    for (int p = first_pixel + first; p < first_pixel + last; p++) {
        const int at_x = p % width, at_y = p / width % height;
        for (int ky = -1; ky <= 1; ky++) {
            for (int kx = -1; kx <= 1; kx++, target += channels) {
                const int inside = (uint)(at_y + ky) < (uint)height && (uint)(at_x + kx) < (uint)width;
                global const float *source = x + ((long)p + ky * width + kx) * channels;
                if (channels == 4)
                    vstore4(inside ? vload4(0, source) : (float4)0, 0, target);
                else
                    for (int c = 0; c < channels; c += VECTOR)
                        STORE(inside ? LOAD(source + c) : zero, target + c);
            }
        }
    }
}
