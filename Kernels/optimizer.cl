// Stochastic gradient descent with momentum, and the sums that shards and clipping need.
//
// All arrays are flat float32 [count]. A work-item takes one element (runtimes vectorise over work-items).
// Launch: global (count), local (256).

// v ← momentum · v + (gradientScale · g + weightDecay · w);  w ← w − learningRate · v. One pass: each array is read once.
kernel void sgd_momentum(global float *restrict weights, const global float *restrict gradients, global float *restrict velocities,
                         const ulong count, const float learningRate, const float momentum, const float weightDecay,
                         const float gradientScale) {
    const size_t i = get_global_id(0);
    if (i >= count) return;
    const float velocity = momentum * velocities[i] + (gradientScale * gradients[i] + weightDecay * weights[i]);
    velocities[i] = velocity;
    weights[i] -= learningRate * velocity;
}

// sum ← sum + addend: one node of the tree in which shards' gradients are added.
kernel void gradient_add(global float *restrict sum, const global float *restrict addend, const ulong count) {
    const size_t i = get_global_id(0);
    if (i < count) sum[i] += addend[i];
}
