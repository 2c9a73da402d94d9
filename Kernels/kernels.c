// Embeds the OpenCL C files, so that a copied `trainer` runs from anywhere.
#include "kernels.h"

#define KERNEL_FILES(FILE)

const kernel_source kernel_sources[] = {{0, 0}};
const size_t kernel_source_count = 0;
