// Softmax and cross-entropy over rows of class scores, for devices whose work-groups share local memory.
// cpu/softmax.cl describes layouts and arguments. A work-group takes one row; its sums and choices go
// through trees in local memory, so their order is fixed.
//
// Macro of the family: ROW_ITEMS, the work-items of a group.

#include "softmax.h"

// Leaves in shared[0] the sum, or with `largest` the maximum, of every work-item's value.
#define TREE(shared, value, expression)                                                                      \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                            \
    shared[item] = value;                                                                                    \
    barrier(CLK_LOCAL_MEM_FENCE);                                                                            \
    for (int half_count = ROW_ITEMS / 2; half_count > 0; half_count /= 2) {                                  \
        if (item < half_count) {                                                                             \
            const int other_item = item + half_count;                                                        \
            expression;                                                                                      \
        }                                                                                                    \
        barrier(CLK_LOCAL_MEM_FENCE);                                                                        \
    }

// The largest score, and the sum of exp(score − largest), for every work-item.
static float2 row_norm(
    const global float *scores, const int classes, const int item, local float *shared) {
    float largest = scores[0];
    for (int i = item; i < classes; i += ROW_ITEMS) largest = fmax(largest, scores[i]);
    TREE(shared, largest, shared[item] = fmax(shared[item], shared[other_item]))
    largest = shared[0];
    float sum = 0;
    for (int i = item; i < classes; i += ROW_ITEMS) sum += exp(scores[i] - largest);
    TREE(shared, sum, shared[item] += shared[other_item])
    return (float2)(largest, shared[0]);
}

// Global (ROW_ITEMS, rows), local (ROW_ITEMS, 1).
kernel __attribute__((reqd_work_group_size(ROW_ITEMS, 1, 1))) void softmax_cross_entropy(
    const global float *restrict logits, const global int *restrict labels,
    const global float *restrict weights, const global float *restrict shares,
    const global float *restrict classWeights, global float *restrict gradient,
    global float4 *restrict statistics, const int rows, const int classes, const int stride, const int first,
    const int mixes, const float scale, const float smoothing) {
    local float shared[ROW_ITEMS];
    local int choices[ROW_ITEMS];
    local int2 ranks[ROW_ITEMS];
    const int row = get_global_id(1), item = get_local_id(0);
    const global float *scores = logits + (size_t)row * stride;
    global float *target = gradient + (size_t)row * stride;
    const int label = labels[first + row];
    const int other = mixes ? labels[first + rows - 1 - row] : label;
    const float share = mixes ? shares[first + row] : 1.0f;
    const float weight = weights[first + row];
    const float own = share * classWeights[label], others = (1.0f - share) * classWeights[other];
    const float total = own + others, kept = 1.0f - smoothing, spread = smoothing * total / classes;
    const float2 norm = row_norm(scores, classes, item, shared);
    int2 rank = 0;
    int best = 0;
    for (int i = item; i < stride; i += ROW_ITEMS) {
        if (i < classes) {
            rank += (int2)(precedes(scores, i, label), precedes(scores, i, other));
            best = precedes(scores, i, best) ? i : best;
        }
        const float goal = kept * ((i == label ? own : 0.0f) + (i == other ? others : 0.0f)) + spread;
        // A weight of 0 must silence a row whose scores are not finite too.
        target[i] = weight == 0 || i >= classes
                      ? 0
                      : weight * scale * (total * (exp(scores[i] - norm.x) / norm.y) - goal);
    }
    TREE(ranks, rank, ranks[item] += ranks[other_item])
    rank = ranks[0];
    TREE(choices, best,
        choices[item] =
            precedes(scores, choices[other_item], choices[item]) ? choices[other_item] : choices[item])
    best = choices[0];
    if (item == 0) statistics[row] = row_statistics(scores, norm, label, other, share, weight, rank, best);
}

// Global (ROW_ITEMS, rows), local (ROW_ITEMS, 1).
kernel __attribute__((reqd_work_group_size(ROW_ITEMS, 1, 1))) void softmax_forward(
    const global float *restrict logits, global float *restrict probabilities, const int rows,
    const int classes, const int stride) {
    local float shared[ROW_ITEMS];
    (void)rows;  // as many as there are work-groups
    const int row = get_global_id(1), item = get_local_id(0);
    const global float *scores = logits + (size_t)row * stride;
    const float2 norm = row_norm(scores, classes, item, shared);
    for (int i = item; i < stride; i += ROW_ITEMS)
        probabilities[(size_t)row * stride + i] = i < classes ? exp(scores[i] - norm.x) / norm.y : 0;
}

// Adds the rows' loss and hits, rounded to multiples of `grain`, to (accumulate) or into totals[place].
// Global (ROW_ITEMS, 1), local (ROW_ITEMS, 1).
kernel __attribute__((reqd_work_group_size(ROW_ITEMS, 1, 1))) void sum_statistics(
    const global float4 *restrict statistics, const global float *restrict weights,
    global float4 *restrict totals, const int rows, const int first, const int place, const int accumulate,
    const float grain) {
    local float4 shared[ROW_ITEMS];
    const int item = get_local_id(0);
    float4 sum = 0;
    for (int row = item; row < rows; row += ROW_ITEMS)
        sum += (float4)(statistics[row].xyz, weights[first + row]);
    TREE(shared, sum, shared[item] += shared[other_item])
    if (item != 0) return;
    sum = grain > 0 ? rint(shared[0] / grain) * grain : shared[0];
    totals[place] = accumulate ? totals[place] + sum : sum;
}
