#pragma once
// Decodes PNG from memory, row by row. libpng reports errors by longjmp, which must not cross Swift frames
// and stays inside cpng.c.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cpng_status {
    CPNG_OK = 0,
    CPNG_TRUNCATED,    // the data ends before the picture does
    CPNG_DAMAGED,      // the data is there but wrong
    CPNG_TOO_LARGE,    // a side is above libpng's limit
    CPNG_UNSUPPORTED,  // needs an extension of the format
    CPNG_OUT_OF_MEMORY,
};

typedef struct cpng_decoder cpng_decoder;

typedef struct cpng_header {
    uint32_t width, height;  // as stored, before the orientation is applied
    bool interlaced;         // rows are complete only after the last pass
} cpng_header;

/// Unpacks a stream of zlib, on which libpng stands.
///
/// `count` is the room in `bytes`, and becomes their number. Returns CPNG_TOO_LARGE if they do not fit.
enum cpng_status cpng_inflate(const uint8_t *packed, size_t packed_count, uint8_t *bytes, size_t *count);

/// Makes a decoder for one thread and any number of images; NULL if there is too little memory.
cpng_decoder *cpng_decoder_create(void);
void cpng_decoder_destroy(cpng_decoder *decoder);

/// Reads everything before the pixels. `bytes` must stay until `cpng_decoder_finish`.
enum cpng_status cpng_decoder_open(cpng_decoder *decoder, const void *bytes, size_t count,
                                   cpng_header *header);

/// Reads the next row of a picture that is not interlaced: 8-bit RGB, transparent pixels on white.
enum cpng_status cpng_decoder_row(cpng_decoder *decoder, uint8_t *row);

/// Reads all rows of an interlaced picture in the same form, `stride` bytes from row to row.
enum cpng_status cpng_decoder_all(cpng_decoder *decoder, uint8_t *pixels, size_t stride);

/// Reads what follows the last row, so that damage there is found, and frees libpng's state.
enum cpng_status cpng_decoder_finish(cpng_decoder *decoder);

/// Returns libpng's message for the last status that was not CPNG_OK.
const char *cpng_decoder_message(const cpng_decoder *decoder);
