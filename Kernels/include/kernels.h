#pragma once
#include <stddef.h>

/// The text of one embedded OpenCL C file; `text` ends with a zero byte.
typedef struct {
    const char *name;
    const char *text;
} kernel_source;

/// Every file of Kernels/, `kernel_source_count()` of them.
const kernel_source *kernel_source_list(void);
size_t kernel_source_count(void);
