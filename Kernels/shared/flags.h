// Bits of a `flags` argument: what happens to a finished sum. `MatrixProduct.Options` has the same values.
#define ACCUMULATE 1
#define ADD_BIAS 2
#define RELU 4
#define STREAM 8
