// Embeds the OpenCL C files, so that a copied `trainer` runs from anywhere. A new file is added here and nowhere else.
#include "kernels.h"

#define TEXT(identifier) static const char identifier##_text[]

TEXT(augment) = {
#embed "augment.cl" suffix(, 0)
};
TEXT(convolution) = {
#embed "convolution.cl" suffix(, 0)
};
TEXT(dense) = {
#embed "dense.cl" suffix(, 0)
};
TEXT(dropout) = {
#embed "dropout.cl" suffix(, 0)
};
TEXT(fully_connected) = {
#embed "fully_connected.cl" suffix(, 0)
};
TEXT(gemm) = {
#embed "gemm.cl" suffix(, 0)
};
TEXT(optimizer) = {
#embed "optimizer.cl" suffix(, 0)
};
TEXT(peak) = {
#embed "peak.cl" suffix(, 0)
};
TEXT(pooling) = {
#embed "pooling.cl" suffix(, 0)
};
TEXT(softmax) = {
#embed "softmax.cl" suffix(, 0)
};
TEXT(winograd) = {
#embed "winograd.cl" suffix(, 0)
};

#define ENTRY(identifier) {#identifier, identifier##_text}

static const kernel_source sources[] = {
    ENTRY(augment), ENTRY(convolution), ENTRY(dense), ENTRY(dropout), ENTRY(fully_connected), ENTRY(gemm),
    ENTRY(optimizer), ENTRY(peak), ENTRY(pooling), ENTRY(softmax), ENTRY(winograd),
};

const kernel_source *kernel_source_list(void) { return sources; }
size_t kernel_source_count(void) { return sizeof sources / sizeof *sources; }
