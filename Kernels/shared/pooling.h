// Max-pooling of a window of 2×2 values, in the order of reading. The including file defines `window_value`,
// a vector of floats.

// Not fmax: a NaN must stay one, or a network that has diverged would not show it.
static inline __attribute__((always_inline)) window_value larger(const window_value a, const window_value b) {
    return select(a, b, (a < b) | isnan(b));
}

// Sends the gradient of a window's maximum to the first of the window's values that equals it, and 0 to the
// others.
static inline __attribute__((always_inline)) void send_to_maximum(
    window_value gradient, const window_value maximum, const window_value *window, window_value *gradients) {
    const window_value zero = 0.0f;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        gradients[i] = select(zero, gradient, window[i] == maximum);
        gradient = select(gradient, zero, window[i] == maximum);
    }
}

// The same for a window of results of a ReLU, whose gradient is 0 if the maximum is not above 0.
static inline __attribute__((always_inline)) void send_through_relu(
    const window_value gradient, const window_value *window, window_value *gradients) {
    const window_value maximum = larger(larger(window[0], window[1]), larger(window[2], window[3]));
    send_to_maximum(select((window_value)0.0f, gradient, maximum > 0.0f), maximum, window, gradients);
}
