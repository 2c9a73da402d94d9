// Stores past the cache, for tensors that no cache holds: a plain store reads the line first. They take whole
// vectors at multiples of their size. Compilers without clang's builtin store plainly.
#ifdef __has_builtin
#if __has_builtin(__builtin_nontemporal_store)
#define STREAM_STORE(value, pointer) __builtin_nontemporal_store(value, pointer)
#endif
#endif
#ifndef STREAM_STORE
#define STREAM_STORE(value, pointer) *(pointer) = (value)
#endif
