// Asks for the line of a pointer ahead of its use, into a core's cache of this level, 1 or 2. PREFETCH is a
// macro of every program: whether the compiler takes clang's `__builtin_prefetch`. OpenCL's own prefetch does
// nothing in pocl.
#if PREFETCH
#define FETCH(pointer, level) __builtin_prefetch((const void *)(size_t)(pointer), 0, 4 - level)
#else
#define FETCH(pointer, level) prefetch(pointer, 1)
#endif
