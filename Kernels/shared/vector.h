// Vectors of VECTOR floats (4, 8 or 16), the width of the device's registers.
// VECTORS_PER_PANEL of them hold a panel of 16 columns.
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

typedef JOIN(float, VECTOR) vector;
typedef JOIN(int, VECTOR) vector_mask;
#define VECTORS_PER_PANEL (16 / VECTOR)
#define LOAD(pointer) JOIN(vload, VECTOR)(0, pointer)

// A vector at any address of a float: some runtimes compile `vstore16` to four stores.
typedef vector unaligned_vector __attribute__((aligned(4)));
#define STORE(value, pointer) *(global unaligned_vector *)(pointer) = (value)
