// Stochastic gradient descent with momentum, and the sums that micro-batches and clipping need.
//
// All arrays are flat float32 [count]. In sgd_momentum and gradient_add a work-item takes one element
// (runtimes vectorise over work-items). Launch: global (count), local (256), unless said otherwise.
//
// Tuning macro: CHUNK, elements whose squares one work-item of sum_of_squares adds up; fixed, so that every
// device adds in the same order.

// v ← momentum · v + (gradientScale[0] · g + weightDecay · w);  w ← w − learningRate · v. One pass: each
// array is read once. A scale that is not a number: nothing is changed. The fused operations are written out,
// so that ranks on different runtimes get the same bits.
kernel void sgd_momentum(
    global float *restrict weights, const global float *restrict gradients, global float *restrict velocities,
    const ulong count, const float learningRate, const float momentum, const float weightDecay,
    const global float *restrict gradientScale) {
    const size_t i = get_global_id(0);
    const float scale = gradientScale[0];
    if (i >= count || isnan(scale)) return;
    const float velocity = fma(momentum, velocities[i], fma(scale, gradients[i], weightDecay * weights[i]));
    velocities[i] = velocity;
    weights[i] = fma(-learningRate, velocity, weights[i]);
}

// sum ← sum + addend: one node of the tree in which micro-batches' gradients are added.
kernel void gradient_add(global float *restrict sum, const global float *restrict addend, const ulong count) {
    const size_t i = get_global_id(0);
    if (i < count) sum[i] += addend[i];
}

// partial[first + i] ← Σ values² over the i-th chunk; `count` is a multiple of 8. Launch: global (chunks),
// local (1).
kernel void sum_of_squares(
    const global float *restrict values, global float *restrict partial, const ulong count,
    const ulong first) {
    const size_t start = get_global_id(0) * CHUNK;
    if (start >= count) return;
    const size_t end = min(start + CHUNK, (size_t)count);
    float8 sum = 0;
    for (size_t i = start; i < end; i += 8) {
        const float8 value = vload8(0, values + i);
        sum = fma(value, value, sum);
    }
    const float4 half_sum = sum.lo + sum.hi;
    partial[first + get_global_id(0)] = (half_sum.x + half_sum.y) + (half_sum.z + half_sum.w);
}

// gradientScale[0] ← 1, or largestNorm / norm where the norm √Σ partial is above it (partials = 0: no
// clipping).
// Not a number once the loss or the norm of a step was not finite, and ever after: the weights stay those
// that led to it. The host learns of it by the loss, which becomes not a number as well.
// One work-item. Launch: global (1), local (1).
kernel void gradient_scale(
    global float4 *restrict totals, const int slot, const global float *restrict partial,
    const ulong partials, const float largestNorm, global float *restrict gradientScale) {
    // Volatile: one CPU runtime would add in an order of its own otherwise.
    volatile float sum = 0;
    for (ulong i = 0; i < partials; i++) sum += partial[i];
    // sqrt and division may be off by a few units in the last place, and each runtime's in its own way: one
    // correction makes all the same.
    float norm = sqrt(sum);
    if (norm > 0) norm = fma(fma(-norm, norm, sum), 0.5f / norm, norm);
    float scale = largestNorm / norm;
    scale = fma(fma(-scale, norm, largestNorm), 1.0f / norm, scale);
    const bool is_finite = isfinite(sum) && isfinite(totals[slot].x) && !isnan(gradientScale[0]);
    if (is_finite) {
        gradientScale[0] = norm > largestNorm ? scale : 1.0f;
    } else {
        gradientScale[0] = NAN;
        totals[slot].x = NAN;
    }
}
