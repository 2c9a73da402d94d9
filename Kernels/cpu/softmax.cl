// Softmax and cross-entropy over rows of class scores.
//
// Layouts: logits and gradient [rows][stride] with `classes` ≤ stride used, float32; labels int and weights
// float hold this rank's part of the mini-batch, `first` is the index of row 0 in them; a weight of 0 takes
// its row out.
// statistics [rows] float4: weighted loss, weight where the label is first, weight where it is among the
// first five, the class that is first.
// A work-item takes one row: a batch has few rows, and a CPU's work-item runs through one at the memory's
// speed.
// Launch: global (rows), local (1).

// The largest score, and the sum of exp(score − largest).
static float2 row_norm(const global float *scores, const int classes) {
    float largest = scores[0];
    for (int i = 1; i < classes; i++) largest = fmax(largest, scores[i]);
    float sum = 0;
    for (int i = 0; i < classes; i++) sum += exp(scores[i] - largest);
    return (float2)(largest, sum);
}

// Whether score i comes before score j. A tie is won by the lower class, and what is not a number comes last:
// a network that has broken down is not right.
static int precedes(const global float *scores, const int i, const int j) {
    const float a = scores[i], b = scores[j];
    return a > b || (isnan(b) && !isnan(a)) || ((a == b || (isnan(a) && isnan(b))) && i < j);
}

// Loss, ranks and the gradient of scale · Σ weight · loss.
kernel void softmax_cross_entropy(
    const global float *restrict logits, const global int *restrict labels,
    const global float *restrict weights, global float *restrict gradient, global float4 *restrict statistics,
    const int rows, const int classes, const int stride, const int first, const float scale) {
    const int row = get_global_id(0);
    if (row >= rows) return;
    const global float *scores = logits + (size_t)row * stride;
    global float *target = gradient + (size_t)row * stride;
    const int label = labels[first + row];
    const float weight = weights[first + row];
    const float2 norm = row_norm(scores, classes);
    const float own = scores[label];
    int rank = 0, best = 0;
    for (int i = 0; i < classes; i++) {
        rank += precedes(scores, i, label);
        best = precedes(scores, i, best) ? i : best;
        // A weight of 0 must silence a row whose scores are not finite too.
        target[i] = weight == 0
                      ? 0
                      : weight * scale * (exp(scores[i] - norm.x) / norm.y - (i == label ? 1.0f : 0.0f));
    }
    for (int i = classes; i < stride; i++) target[i] = 0;
    const float loss = log(norm.y) - (own - norm.x);
    statistics[row] = weight == 0
                        ? (float4)(0, 0, 0, best)
                        : (float4)(weight * loss, rank < 1 ? weight : 0, rank < 5 ? weight : 0, best);
}

// Posteriors [rows][stride]; columns past `classes` are 0.
kernel void softmax_forward(
    const global float *restrict logits, global float *restrict probabilities, const int rows,
    const int classes, const int stride) {
    const int row = get_global_id(0);
    if (row >= rows) return;
    const global float *scores = logits + (size_t)row * stride;
    global float *target = probabilities + (size_t)row * stride;
    const float2 norm = row_norm(scores, classes);
    for (int i = 0; i < stride; i++) target[i] = i < classes ? exp(scores[i] - norm.x) / norm.y : 0;
}

// Adds the rows' loss and hits, in order, to (accumulate) or into totals[slot]: what the host reads of a
// step.
// One work-item. Launch: global (1), local (1).
kernel void sum_statistics(
    const global float4 *restrict statistics, const global float *restrict weights,
    global float4 *restrict totals, const int rows, const int first, const int slot, const int accumulate) {
    float4 sum = accumulate ? totals[slot] : (float4)(0);
    for (int row = 0; row < rows; row++) sum += (float4)(statistics[row].xyz, weights[first + row]);
    totals[slot] = sum;
}
