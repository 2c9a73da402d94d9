// Inverted dropout: keeps an element with probability 1 − p and scales it by 1 / (1 − p).
//
// The mask is drawn again in backward instead of being kept: Philox4x32-10 (Salmon et al. 2011), key from
// (seed, purpose), counter (element / 4, layer, step, step's high word). `values` [count] float32, count a
// multiple of 4.
// A work-item takes four elements. Launch: global (count/4), local (64).
//
// A part of the mini-batch draws what the whole would: the elements from 4·start on are rows of 4·columns of
// the 4·stride units of an image, and `first` is the first one's index / 4 in the whole mini-batch.

static uint4 philox(uint4 counter, uint2 key) {
    for (int round = 0; round < 10; round++) {
        const uint highFirst = mul_hi(0xD2511F53u, counter.x), lowFirst = 0xD2511F53u * counter.x;
        const uint highSecond = mul_hi(0xCD9E8D57u, counter.z), lowSecond = 0xCD9E8D57u * counter.z;
        counter = (uint4)(highSecond ^ counter.y ^ key.x, lowSecond, highFirst ^ counter.w ^ key.y, lowFirst);
        key += (uint2)(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// Forward on activations and backward on gradients are the same product with the same mask.
// `threshold` is p · 2^32: a word below it drops its element.
kernel void dropout_apply(
    global float *restrict values, const int count, const int start, const int columns, const int stride,
    const uint first, const uint layer, const ulong step, const uint keyLow, const uint keyHigh,
    const uint threshold, const float scale) {
    const int index = get_global_id(0);
    if (index * 4 >= count) return;
    const uint place = first + (uint)(index / columns * stride + index % columns);
    const uint4 words =
        philox((uint4)(place, layer, (uint)step, (uint)(step >> 32)), (uint2)(keyLow, keyHigh));
    const float4 kept = vload4(start + index, values) * scale;
    vstore4(select((float4)(0.0f), kept, words >= threshold), start + index, values);
}
