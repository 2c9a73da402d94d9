// Updates of weights and gradients, for optimizer.cl of both bodies.
//
// All arrays are flat float32 [count]. A work-item updates LANES elements, a macro of the family: 1 on GPUs,
// 8 on CPUs. pocl does not vectorise over work-items that compare their index with the count, so CPUs use
// vectors explicitly. Launch: global (⌈count / LANES⌉), local (GROUP_ITEMS).

#if LANES == 1
typedef float lanes;
#else
typedef float8 lanes;
#endif

// Returns the elements of an array from `i` on, with zeros behind its end.
static lanes load(global const float *values, const size_t i, const ulong count) {
#if LANES == 1
    (void)count;  // the caller has compared i with it
    return values[i];
#else
    if (count - i >= LANES) return vload8(0, values + i);
    float rest[LANES] = {0};
    for (int j = 0; i + j < count; j++) rest[j] = values[i + j];
    return vload8(0, rest);
#endif
}

// Stores elements of an array from `i` on, up to its end.
static void store(const lanes value, global float *values, const size_t i, const ulong count) {
#if LANES == 1
    (void)count;
    values[i] = value;
#else
    if (count - i >= LANES) {
        vstore8(value, 0, values + i);
    } else {
        float rest[LANES];
        vstore8(value, 0, rest);
        for (int j = 0; i + j < count; j++) values[i + j] = rest[j];
    }
#endif
}

// v ← momentum · v + (gradientScale[0] · g + weightDecay · w);  w ← w − learningRate · v. One pass: each
// array is read once. A scale that is not a number: nothing is changed. The fused operations are written out,
// so that ranks on different runtimes get the same bits.
kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1))) void sgd_momentum(
    global float *restrict weights, const global float *restrict gradients, global float *restrict velocities,
    const ulong count, const float learningRate, const float momentum, const float weightDecay,
    const global float *restrict gradientScale) {
    const size_t i = get_global_id(0) * LANES;
    const float scale = gradientScale[0];
    if (i >= count || isnan(scale)) return;
    const lanes weight = load(weights, i, count);
    const lanes velocity = fma(
        (lanes)momentum, load(velocities, i, count),
        fma((lanes)scale, load(gradients, i, count), weightDecay * weight));
    store(velocity, velocities, i, count);
    store(fma((lanes)(-learningRate), velocity, weight), weights, i, count);
}

// AdamW (Loshchilov and Hutter, 2019), as PyTorch computes it:
// m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  w ← decay · w − rate · m / (√v · correction + epsilon),
// with g = gradientScale[0] · gradient. The host's rate and correction include the bias corrections, and
// decay is 1 − rate · weight decay. One pass: each array is read once. A scale that is not a number: nothing
// is changed. rest1 and rest2 are 1 − β₁ and 1 − β₂. Root and quotient are corrected once, so that ranks on
// different runtimes get the same bits.
kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1))) void adamw(
    global float *restrict weights, const global float *restrict gradients, global float *restrict first,
    global float *restrict second, const ulong count, const float rate, const float correction,
    const float decay, const float beta1, const float rest1, const float beta2, const float rest2,
    const float epsilon, const global float *restrict gradientScale) {
    const size_t i = get_global_id(0) * LANES;
    const float scale = gradientScale[0];
    if (i >= count || isnan(scale)) return;
    const lanes gradient = scale * load(gradients, i, count);
    const lanes m = fma((lanes)beta1, load(first, i, count), rest1 * gradient);
    const lanes v = fma((lanes)beta2, load(second, i, count), rest2 * gradient * gradient);
    lanes root = sqrt(v);
    root = root > 0.0f ? fma(fma(-root, root, v), 0.5f / root, root) : root;
    const lanes divisor = fma(root, (lanes)correction, (lanes)epsilon);
    lanes quotient = m / divisor;
    quotient = fma(fma(-quotient, divisor, m), 1.0f / divisor, quotient);
    store(m, first, i, count);
    store(v, second, i, count);
    store(fma((lanes)(-rate), quotient, decay * load(weights, i, count)), weights, i, count);
}

// sum ← sum + addend: one node of the tree in which micro-batches' gradients are added.
kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1))) void gradient_add(
    global float *restrict sum, const global float *restrict addend, const ulong count) {
    const size_t i = get_global_id(0) * LANES;
    if (i < count) store(load(sum, i, count) + load(addend, i, count), sum, i, count);
}

// average ← average + rate · (weights − average): a step of an exponential moving average. A scale that is
// not a number: nothing is changed, as in the update.
kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1))) void average_weights(
    global float *restrict average, const global float *restrict weights, const ulong count, const float rate,
    const global float *restrict gradientScale) {
    const size_t i = get_global_id(0) * LANES;
    if (i >= count || isnan(gradientScale[0])) return;
    const lanes old = load(average, i, count);
    store(fma((lanes)rate, load(weights, i, count) - old, old), average, i, count);
}

// Exchanges the values of two arrays.
kernel __attribute__((reqd_work_group_size(GROUP_ITEMS, 1, 1))) void swap_values(
    global float *restrict first, global float *restrict second, const ulong count) {
    const size_t i = get_global_id(0) * LANES;
    if (i >= count) return;
    const lanes value = load(first, i, count);
    store(load(second, i, count), first, i, count);
    store(value, second, i, count);
}

// gradientScale[0] ← 1, or largestNorm / norm where the norm √Σ partial is above it (no partials: no
// clipping).
// Not a number once the loss or the norm of a step was not finite, and ever after: the weights stay those
// that led to it. The host learns of it by the loss, which becomes not a number as well.
static void set_gradient_scale(
    global float4 *totals, const int place, const float sum, const float largestNorm,
    global float *gradientScale) {
    // sqrt and division may be off by a few units in the last place, and each runtime's in its own way: one
    // correction makes all the same.
    float norm = sqrt(sum);
    if (norm > 0) norm = fma(fma(-norm, norm, sum), 0.5f / norm, norm);
    float scale = largestNorm / norm;
    scale = fma(fma(-scale, norm, largestNorm), 1.0f / norm, scale);
    const bool is_finite = isfinite(sum) && isfinite(totals[place].x) && !isnan(gradientScale[0]);
    if (is_finite) {
        gradientScale[0] = norm > largestNorm ? scale : 1.0f;
    } else {
        gradientScale[0] = NAN;
        totals[place].x = NAN;
    }
}
