#pragma once
#include <stddef.h>

/// The text of one embedded OpenCL C file; `text` ends with a zero byte.
typedef struct {
    const char *name;
    const char *text;
} kernel_source;

/// Every file of Kernels/, in alphabetical order.
extern const kernel_source kernel_sources[];
extern const size_t kernel_source_count;
