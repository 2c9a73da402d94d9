// Embeds the OpenCL C files, so that a copied `trainer` runs from anywhere. A new file takes two lines here.
#include "kernels.h"

static const kernel_source sources[] = {
#define SOURCE "cpu/convolution.cl"
#include "embed.h"
#define SOURCE "cpu/fully_connected.cl"
#include "embed.h"
#define SOURCE "cpu/gemm.cl"
#include "embed.h"
#define SOURCE "cpu/winograd.cl"
#include "embed.h"
#define SOURCE "gpu/product.cl"
#include "embed.h"
#define SOURCE "shared/augment.cl"
#include "embed.h"
#define SOURCE "shared/dense.cl"
#include "embed.h"
#define SOURCE "shared/dropout.cl"
#include "embed.h"
#define SOURCE "shared/flags.h"
#include "embed.h"
#define SOURCE "shared/optimizer.cl"
#include "embed.h"
#define SOURCE "shared/peak.cl"
#include "embed.h"
#define SOURCE "shared/pooling.cl"
#include "embed.h"
#define SOURCE "shared/softmax.cl"
#include "embed.h"
#define SOURCE "shared/vector.h"
#include "embed.h"
};

const kernel_source *kernel_source_list(void) { return sources; }
size_t kernel_source_count(void) { return sizeof sources / sizeof *sources; }
