// Mixup (Zhang, Cisse, Dauphin and Lopez-Paz, 2018) of a pass's images, in place.
//
// Image r becomes shares[first + r] · image r + (1 − shares[first + r]) · image rows − 1 − r; the middle one
// of an odd number keeps its pixels. softmax.cl gives row r the label of row rows − 1 − r as its second
// label. images [rows][pixels] float4; shares float, of this rank's part of the mini-batch.
// A work-item takes one pixel of both images of a pair, and reads both before it writes. The fused operations
// are written out, so that ranks on different runtimes get the same bits; a share of 1 keeps an image's bits.
// Launch: global (pixels, rows / 2), local (64, 1).

kernel void mix_pairs(
    global float4 *restrict images, const global float *restrict shares, const int rows, const int pixels,
    const int first) {
    const int pixel = get_global_id(0), row = get_global_id(1), partner = rows - 1 - row;
    if (pixel >= pixels || row >= partner) return;
    global float4 *upper = images + (size_t)row * pixels + pixel;
    global float4 *lower = images + (size_t)partner * pixels + pixel;
    const float4 a = *upper, b = *lower;
    const float share = shares[first + row], other = shares[first + partner];
    *upper = fma((float4)(share), a, (1.0f - share) * b);
    *lower = fma((float4)(other), b, (1.0f - other) * a);
}
