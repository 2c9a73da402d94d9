// Max-pooling, 2×2 windows at stride 2; an odd last row or column belongs to no window.
//
// Layouts: input [batch][height][width][channels], output [batch][height/2][width/2][channels], float32,
// NHWC.
// A work-item takes VECTOR channels of one window.
// Launch: global (channels/VECTOR, ceil(width/2), batch·ceil(height/2)) for backward, floor for forward;
// local (min(channels/VECTOR, 4), 16, 1).
// VECTOR: floats of a vector, 8, or 4 where there are four channels.

#include "vector.h"

typedef vector window_value;
#include "pooling.h"

kernel void max_pool_forward(
    const global float *restrict input, global float *restrict output, const int batch, const int height,
    const int width, const int channels) {
    const int outputHeight = height / 2, outputWidth = width / 2;
    const int channel = (int)get_global_id(0) * VECTOR, x = get_global_id(1), row = get_global_id(2);
    if (channel >= channels || x >= outputWidth || row >= batch * outputHeight) return;
    const int image = row / outputHeight, y = row % outputHeight;
    const size_t line = (size_t)width * channels;
    const global float *window =
        input + ((size_t)image * height + 2 * y) * line + (size_t)2 * x * channels + channel;
    const vector top = larger(LOAD(window), LOAD(window + channels));
    const vector bottom = larger(LOAD(window + line), LOAD(window + line + channels));
    STORE(larger(top, bottom), output + ((size_t)row * outputWidth + x) * channels + channel);
}

// The gradient goes to the window's first maximum in the order of reading; the window is read again instead
// of keeping its index.
kernel void max_pool_backward(
    const global float *restrict input, const global float *restrict output,
    const global float *restrict outputGradient, global float *restrict inputGradient, const int batch,
    const int height, const int width, const int channels) {
    const int windowRows = (height + 1) / 2, windowColumns = (width + 1) / 2;
    const int outputHeight = height / 2, outputWidth = width / 2;
    const int channel = (int)get_global_id(0) * VECTOR, x = get_global_id(1), row = get_global_id(2);
    if (channel >= channels || x >= windowColumns || row >= batch * windowRows) return;
    const int image = row / windowRows, y = row % windowRows;
    const size_t line = (size_t)width * channels;
    const size_t corner = ((size_t)image * height + 2 * y) * line + (size_t)2 * x * channels + channel;
    global float *target = inputGradient + corner;
    const vector zero = (vector)(0.0f);
    if (y >= outputHeight || x >= outputWidth) {
        STORE(zero, target);
        if (2 * x + 1 < width) STORE(zero, target + channels);
        if (2 * y + 1 < height) STORE(zero, target + line);
        return;
    }
    const global float *window = input + corner;
    const size_t place = (((size_t)image * outputHeight + y) * outputWidth + x) * channels + channel;
    const vector maximum = LOAD(output + place), gradient = LOAD(outputGradient + place);
    const vector values[4] = {
        LOAD(window), LOAD(window + channels), LOAD(window + line), LOAD(window + line + channels)};
    vector gradients[4];
    send_to_maximum(gradient, maximum, values, gradients);
    STORE(gradients[0], target);
    STORE(gradients[1], target + channels);
    STORE(gradients[2], target + line);
    STORE(gradients[3], target + line + channels);
}
