// Prefetches the cache line at a pointer into a core's cache of level 1 or 2, if PREFETCH is 1. Every program
// defines PREFETCH: 1 if the compiler takes clang's `__builtin_prefetch`, else 0. OpenCL's own prefetch does
// nothing in pocl.
#if PREFETCH
#define FETCH(pointer, level) __builtin_prefetch((const void *)(size_t)(pointer), 0, 4 - level)
#else
#define FETCH(pointer, level) (void)(pointer)
#endif
