// Softmax and cross-entropy over rows of class scores.
//
// Layouts: logits and gradient [rows][stride] with `classes` ≤ stride used, float32; labels int and weights
// float hold this rank's part of the mini-batch, `first` is the index of row 0 in them; a weight of 0 takes
// its row out.
// With `mixes`, row r is a mixture of two images (mixup.cl): its second label is that of row rows − 1 − r,
// and shares float, placed as the weights are, has the first label's share. Otherwise shares is not read.
// classWeights [classes] float32; smoothing is the share of each target that goes to all classes equally.
// statistics [rows] float4: weighted loss, weight where the label is first, weight where it is among the
// first five, the class that is first. Of two labels, each counts by its share; neither class weights nor
// smoothing matter, so that these numbers compare with those of a validation.
// A work-item takes one row: a batch has few rows, and a CPU's work-item runs through one at the memory's
// speed.
// Launch: global (rows), local (1).

#include "softmax.h"

// The largest score, and the sum of exp(score − largest).
static float2 row_norm(const global float *scores, const int classes) {
    float largest = scores[0];
    for (int i = 1; i < classes; i++) largest = fmax(largest, scores[i]);
    float sum = 0;
    for (int i = 0; i < classes; i++) sum += exp(scores[i] - largest);
    return (float2)(largest, sum);
}

// Loss, ranks and the gradient of scale · Σ weight · (cross-entropy with the targets), where a row's targets
// are (1 − smoothing) · u + smoothing · Σ u / classes, and u has share · classWeights[label] at the label and
// (1 − share) · classWeights[other] at the second label.
kernel void softmax_cross_entropy(
    const global float *restrict logits, const global int *restrict labels,
    const global float *restrict weights, const global float *restrict shares,
    const global float *restrict classWeights, global float *restrict gradient,
    global float4 *restrict statistics, const int rows, const int classes, const int stride, const int first,
    const int mixes, const float scale, const float smoothing) {
    const int row = get_global_id(0);
    if (row >= rows) return;
    const global float *scores = logits + (size_t)row * stride;
    global float *target = gradient + (size_t)row * stride;
    const int label = labels[first + row];
    const int other = mixes ? labels[first + rows - 1 - row] : label;
    const float share = mixes ? shares[first + row] : 1.0f;
    const float weight = weights[first + row];
    const float own = share * classWeights[label], others = (1.0f - share) * classWeights[other];
    const float total = own + others, kept = 1.0f - smoothing, spread = smoothing * total / classes;
    const float2 norm = row_norm(scores, classes);
    int2 rank = 0;
    int best = 0;
    for (int i = 0; i < classes; i++) {
        rank += (int2)(precedes(scores, i, label), precedes(scores, i, other));
        best = precedes(scores, i, best) ? i : best;
        const float goal = kept * ((i == label ? own : 0.0f) + (i == other ? others : 0.0f)) + spread;
        // A weight of 0 must silence a row whose scores are not finite too.
        target[i] = weight == 0 ? 0 : weight * scale * (total * (exp(scores[i] - norm.x) / norm.y) - goal);
    }
    for (int i = classes; i < stride; i++) target[i] = 0;
    statistics[row] = row_statistics(scores, norm, label, other, share, weight, rank, best);
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

// Adds the rows' loss and hits, in order, rounds the sums to multiples of `grain` (0: not), and puts them
// into totals[place] or adds them to it (accumulate): what the host reads of a step.
// One work-item. Launch: global (1), local (1).
kernel void sum_statistics(
    const global float4 *restrict statistics, const global float *restrict weights,
    global float4 *restrict totals, const int rows, const int first, const int place, const int accumulate,
    const float grain) {
    float4 sum = 0;
    for (int row = 0; row < rows; row++) sum += (float4)(statistics[row].xyz, weights[first + row]);
    if (grain > 0) sum = rint(sum / grain) * grain;
    totals[place] = accumulate ? totals[place] + sum : sum;
}
