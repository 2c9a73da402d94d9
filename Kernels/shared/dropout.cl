// Inverted dropout: keeps an element with probability 1 − p and scales it by 1 / (1 − p).
//
// The mask is drawn again in backward instead of being kept: Philox4x32-10 (Salmon et al. 2011), key from
// (seed, purpose), counter (element / 4, layer, step, step's high word). `values` [count] float32, count a
// multiple of 4.
// A work-item takes 4·LANES elements, and draws LANES times four words at once. Launch: global
// (⌈count / (4·LANES)⌉), local (64 on GPUs, 1 on CPUs).
//
// A part of the mini-batch draws what the whole would: the elements from 4·start on are rows of 4·columns of
// the 4·stride units of an image, and `first` is the first one's index / 4 in the whole mini-batch.

// Tuning macro: LANES (1 or 16: work-items of a CPU fill its vectors).

#if LANES == 1
typedef uint lanes;
#define HIGH(a, b) mul_hi(a, b)
#else
typedef uint16 lanes;
#define HIGH(a, b) convert_uint16(convert_ulong16(a) * (b) >> 32)
#endif

typedef union {
    lanes all;
    uint each[LANES];
} words;

static void philox(words *counter, uint2 key) {
    lanes x = counter[0].all, y = counter[1].all, z = counter[2].all, w = counter[3].all;
    for (int round = 0; round < 10; round++) {
        const lanes high_first = HIGH(x, 0xD2511F53u), high_second = HIGH(z, 0xCD9E8D57u);
        const lanes low_first = 0xD2511F53u * x, low_second = 0xCD9E8D57u * z;
        x = high_second ^ y ^ key.x;
        y = low_second;
        z = high_first ^ w ^ key.y;
        w = low_first;
        key += (uint2)(0x9E3779B9u, 0xBB67AE85u);
    }
    counter[0].all = x;
    counter[1].all = y;
    counter[2].all = z;
    counter[3].all = w;
}

// Forward on activations and backward on gradients are the same product with the same mask.
// `threshold` is p · 2^32: a word below it drops its element.
kernel void dropout_apply(
    global float *restrict values, const int count, const int start, const int columns, const int stride,
    const uint first, const uint layer, const ulong step, const uint keyLow, const uint keyHigh,
    const uint threshold, const float scale) {
    const int begin = get_global_id(0) * LANES, end = min(begin + LANES, count / 4);
    if (begin >= end) return;
    words random[4];
    int row = begin / columns, column = begin % columns;
    for (int lane = 0; lane < LANES; lane++) {
        random[0].each[lane] = first + (uint)(row * stride + column);
        const int wraps = ++column == columns;
        row += wraps;
        column = wraps ? 0 : column;
    }
    random[1].all = layer;
    random[2].all = (uint)step;
    random[3].all = (uint)(step >> 32);
    philox(random, (uint2)(keyLow, keyHigh));
    for (int lane = 0; lane < LANES; lane++) {
        const int index = begin + lane;
        if (index >= end) break;
        const uint4 drawn = (uint4)(
            random[0].each[lane], random[1].each[lane], random[2].each[lane], random[3].each[lane]);
        const float4 kept = vload4(start + index, values) * scale;
        vstore4(select((float4)(0.0f), kept, drawn >= threshold), start + index, values);
    }
}
