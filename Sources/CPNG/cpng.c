#include "cpng.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>
#include <zlib.h>

enum cpng_status cpng_inflate(const uint8_t *packed, size_t packed_count, uint8_t *bytes, size_t *count) {
    uLongf room = *count;
    const int code = uncompress(bytes, &room, packed, packed_count);
    *count = room;
    return code == Z_OK ? CPNG_OK
         : code == Z_BUF_ERROR ? CPNG_TOO_LARGE
         : code == Z_MEM_ERROR ? CPNG_OUT_OF_MEMORY
                               : CPNG_DAMAGED;
}

struct cpng_decoder {
    png_structp png;
    png_infop info;
    const uint8_t *next;
    size_t left;
    uint32_t width, height;
    int channels;
    bool deep, interlaced;  // deep: 16 bits a channel
    uint8_t *row;  // a row as libpng gives it, if that is not 8-bit RGB
    bool end_of_data, unsupported, too_large, out_of_memory;
    char message[200];
};

[[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    cpng_decoder *decoder = png_get_error_ptr(png);
    // An earlier message says more: the limits that were exceeded, or that the data has ended.
    if (!decoder->message[0]) snprintf(decoder->message, sizeof decoder->message, "%s", message);
    if (strstr(message, "unhandled critical chunk")) decoder->unsupported = true;
    if (strstr(message, "ut of memory")) decoder->out_of_memory = true;
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message) {
    cpng_decoder *decoder = png_get_error_ptr(png);
    if (strstr(message, "exceeds user limit")) {
        decoder->too_large = true;
        snprintf(decoder->message, sizeof decoder->message, "%s", message);
    }
}

static void on_read(png_structp png, png_bytep target, size_t count) {
    cpng_decoder *decoder = png_get_io_ptr(png);
    if (count > decoder->left) {
        decoder->end_of_data = true;
        png_error(png, "the data ends early");
    }
    memcpy(target, decoder->next, count);
    decoder->next += count;
    decoder->left -= count;
}

static void release(cpng_decoder *decoder) {
    if (decoder->png) png_destroy_read_struct(&decoder->png, &decoder->info, NULL);
    decoder->png = NULL;
    decoder->info = NULL;
    free(decoder->row);
    decoder->row = NULL;
}

static enum cpng_status failed(cpng_decoder *decoder) {
    release(decoder);
    if (decoder->out_of_memory) return CPNG_OUT_OF_MEMORY;
    if (decoder->too_large) return CPNG_TOO_LARGE;
    if (decoder->end_of_data) return CPNG_TRUNCATED;
    return decoder->unsupported ? CPNG_UNSUPPORTED : CPNG_DAMAGED;
}

cpng_decoder *cpng_decoder_create(void) { return calloc(1, sizeof(cpng_decoder)); }

void cpng_decoder_destroy(cpng_decoder *decoder) {
    if (!decoder) return;
    release(decoder);
    free(decoder);
}

const char *cpng_decoder_message(const cpng_decoder *decoder) { return decoder->message; }

enum cpng_status cpng_decoder_open(cpng_decoder *decoder, const void *bytes, size_t count,
                                   cpng_header *header) {
    release(decoder);
    *decoder = (cpng_decoder){.next = bytes, .left = count};
    decoder->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, decoder, on_error, on_warning);
    if (decoder->png) decoder->info = png_create_info_struct(decoder->png);
    if (!decoder->info) {
        decoder->out_of_memory = true;
        snprintf(decoder->message, sizeof decoder->message, "out of memory");
        return failed(decoder);
    }
    png_structp png = decoder->png;
    if (setjmp(png_jmpbuf(png))) return failed(decoder);
    png_set_read_fn(png, decoder, on_read);
    // Only the pixels matter: profiles and texts would cost time and memory.
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_read_info(png, decoder->info);
    png_set_expand(png);
    png_set_gray_to_rgb(png);
    png_read_update_info(png, decoder->info);
    decoder->width = header->width = png_get_image_width(png, decoder->info);
    decoder->height = header->height = png_get_image_height(png, decoder->info);
    decoder->interlaced = header->interlaced =
        png_get_interlace_type(png, decoder->info) != PNG_INTERLACE_NONE;
    decoder->channels = png_get_channels(png, decoder->info);
    decoder->deep = png_get_bit_depth(png, decoder->info) == 16;
    size_t row_bytes = png_get_rowbytes(png, decoder->info);
    size_t pixel_bytes = (size_t)decoder->channels * (decoder->deep ? 2 : 1);
    if (decoder->channels < 3 || row_bytes != pixel_bytes * header->width)
        png_error(png, "rows of an unexpected form");
    if (decoder->deep || decoder->channels == 4 || decoder->interlaced) {
        decoder->row = malloc(row_bytes);
        if (!decoder->row) png_error(png, "Out of memory");
    }
    return CPNG_OK;
}

/// Returns a colour on white, both up to `most`, rounded to the nearest.
static inline uint32_t on_white(uint32_t colour, uint32_t alpha, uint32_t most) {
    return (colour * alpha + most * (most - alpha) + most / 2) / most;
}

/// Turns pixels as libpng gives them into 8-bit RGB on white, `step` pixels from one to the next.
static void convert(const cpng_decoder *decoder, const uint8_t *from, uint8_t *to, uint32_t count,
                    size_t step) {
    bool transparent = decoder->channels == 4;
    if (decoder->deep) {
        for (uint32_t i = 0; i < count; i++, from += transparent ? 8 : 6, to += 3 * step)
            for (int c = 0; c < 3; c++) {
                uint32_t value = (uint32_t)from[2 * c] << 8 | from[2 * c + 1];
                if (transparent) value = on_white(value, (uint32_t)from[6] << 8 | from[7], 0xFFFF);
                to[c] = (uint8_t)((value * 0xFF + 0x7FFF) / 0xFFFF);
            }
    } else {
        for (uint32_t i = 0; i < count; i++, from += decoder->channels, to += 3 * step)
            for (int c = 0; c < 3; c++)
                to[c] = transparent ? (uint8_t)on_white(from[c], from[3], 0xFF) : from[c];
    }
}

enum cpng_status cpng_decoder_row(cpng_decoder *decoder, uint8_t *row) {
    if (!decoder->png) return CPNG_DAMAGED;
    if (setjmp(png_jmpbuf(decoder->png))) return failed(decoder);
    png_read_row(decoder->png, decoder->row ? decoder->row : row, NULL);
    if (decoder->row) convert(decoder, decoder->row, row, decoder->width, 1);
    return CPNG_OK;
}

enum cpng_status cpng_decoder_all(cpng_decoder *decoder, uint8_t *pixels, size_t stride) {
    if (!decoder->png) return CPNG_DAMAGED;
    if (setjmp(png_jmpbuf(decoder->png))) return failed(decoder);
    // libpng gives the rows of each pass by themselves, because its own interlacing would need the
    // transparency of the whole picture.
    for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; pass++) {
        uint32_t columns = PNG_PASS_COLS(decoder->width, pass), rows = PNG_PASS_ROWS(decoder->height, pass);
        if (columns == 0) continue;
        for (uint32_t y = 0; y < rows; y++) {
            png_read_row(decoder->png, decoder->row, NULL);
            uint8_t *target =
                pixels + PNG_ROW_FROM_PASS_ROW(y, pass) * stride + 3 * (size_t)PNG_PASS_START_COL(pass);
            convert(decoder, decoder->row, target, columns, (size_t)1 << PNG_PASS_COL_SHIFT(pass));
        }
    }
    return CPNG_OK;
}

enum cpng_status cpng_decoder_finish(cpng_decoder *decoder) {
    if (!decoder->png) return CPNG_DAMAGED;
    if (setjmp(png_jmpbuf(decoder->png))) return failed(decoder);
    png_read_end(decoder->png, NULL);
    release(decoder);
    return CPNG_OK;
}
