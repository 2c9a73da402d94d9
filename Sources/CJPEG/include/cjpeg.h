#pragma once
// Decodes JPEG from memory and encodes it to memory. libjpeg reports errors by longjmp, which must not cross
// Swift frames and stays inside cjpeg.c.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum cjpeg_status {
    CJPEG_OK = 0,
    CJPEG_NOT_JPEG,      // does not begin with a start-of-image marker
    CJPEG_TRUNCATED,     // the data ends before the pixels do
    CJPEG_DAMAGED,       // the data is there but wrong
    CJPEG_TOO_LARGE,     // the header claims more than the limits given
    CJPEG_UNSUPPORTED,   // lossless, 12-bit, two components …
    CJPEG_OUT_OF_MEMORY,
};

enum cjpeg_colour { CJPEG_GREY = 0, CJPEG_RGB, CJPEG_YCC, CJPEG_CMYK, CJPEG_YCCK };

typedef struct cjpeg_decoder cjpeg_decoder;

typedef struct cjpeg_header {
    uint32_t width, height;  // as stored, before the orientation is applied
    int components;
    int orientation;  // EXIF, 1…8; 1 if it is missing or invalid
    bool many_scans;  // progressive, or a scan for each component
    uint64_t coefficient_bytes;  // memory that all scans are collected in; 0 for a single scan
} cjpeg_header;

/// Makes a decoder for one thread and any number of images; NULL if there is too little memory.
cjpeg_decoder *cjpeg_decoder_create(void);
void cjpeg_decoder_destroy(cjpeg_decoder *decoder);

/// Returns the orientation in the first directory of EXIF data, 1…8; 1 if it is missing or invalid. The data
/// may begin with "Exif" and two zeros, as in JPEG, or with TIFF's header.
int cjpeg_exif_orientation(const uint8_t *data, size_t count);

/// Reads the header. `bytes` must stay until the last row is read. No memory of the image's size is allocated
/// before `cjpeg_decoder_start`.
enum cjpeg_status cjpeg_decoder_open(cjpeg_decoder *decoder, const void *bytes, size_t count,
                                     uint32_t maximum_side, cjpeg_header *header);

/// Starts decoding at scale_num/8 of the size, and returns the resulting size.
enum cjpeg_status cjpeg_decoder_start(cjpeg_decoder *decoder, int scale_num, uint32_t *width,
                                      uint32_t *height);

/// Limits the rows to `columns` columns from `first` on, and returns the actual range, which is aligned to
/// blocks. Must be called before the first row is read or skipped. The outermost columns may differ from a
/// complete decode, which has neighbours to interpolate chroma from.
enum cjpeg_status cjpeg_decoder_crop(cjpeg_decoder *decoder, uint32_t *first, uint32_t *columns);

/// Skips the next `rows` rows, but not the last row of the picture. Damage in their data is found.
enum cjpeg_status cjpeg_decoder_skip(cjpeg_decoder *decoder, uint32_t rows);

/// Reads the next `rows` rows as RGB, `stride` bytes from row to row. Fails at the first warning that means
/// missing pixels.
enum cjpeg_status cjpeg_decoder_read(cjpeg_decoder *decoder, uint8_t *pixels, size_t stride, uint32_t rows);

/// Returns libjpeg's message for the last status that was not CJPEG_OK.
const char *cjpeg_decoder_message(const cjpeg_decoder *decoder);

/// Returns the number of libjpeg's warnings, harmless ones included, about the last image.
int cjpeg_decoder_warnings(const cjpeg_decoder *decoder);

typedef struct cjpeg_encoding {
    uint32_t width, height;
    enum cjpeg_colour stored;
    int across, down;  // pixels that share a sample of chroma, in YCC
    int quality;       // 1…100
    bool progressive;
} cjpeg_encoding;

/// Encodes rows of 1, 3 or 4 bytes a pixel (grey, RGB, or CMYK as stored). Free `output` with cjpeg_free.
enum cjpeg_status cjpeg_encode(const uint8_t *pixels, cjpeg_encoding encoding, uint8_t **output,
                               size_t *output_count, char message[200]);
void cjpeg_free(uint8_t *output);
