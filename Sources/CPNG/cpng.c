#include "cpng.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

struct cpng_decoder {
    png_structp png;
    png_infop info;
    const uint8_t *next;
    size_t left;
    uint32_t height;
    int passes;
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
    png_byte type = png_get_color_type(png, decoder->info);
    bool transparent = (type & PNG_COLOR_MASK_ALPHA) || png_get_valid(png, decoder->info, PNG_INFO_tRNS);
    int depth = png_get_bit_depth(png, decoder->info);
    png_set_expand(png);
    png_set_gray_to_rgb(png);
    if (transparent) {
        png_uint_16 most = depth == 16 ? 0xFFFF : 0xFF;
        png_color_16 white = {.red = most, .green = most, .blue = most, .gray = most};
        png_set_background(png, &white, PNG_BACKGROUND_GAMMA_SCREEN, 0, 1.0);
    }
    png_set_scale_16(png);
    decoder->passes = png_set_interlace_handling(png);
    png_read_update_info(png, decoder->info);
    decoder->height = png_get_image_height(png, decoder->info);
    header->width = png_get_image_width(png, decoder->info);
    header->height = decoder->height;
    header->interlaced = decoder->passes > 1;
    if (png_get_rowbytes(png, decoder->info) != 3 * (size_t)header->width)
        png_error(png, "rows are not of three bytes a pixel");
    return CPNG_OK;
}

enum cpng_status cpng_decoder_row(cpng_decoder *decoder, uint8_t *row) {
    if (!decoder->png) return CPNG_DAMAGED;
    if (setjmp(png_jmpbuf(decoder->png))) return failed(decoder);
    png_read_row(decoder->png, row, NULL);
    return CPNG_OK;
}

enum cpng_status cpng_decoder_all(cpng_decoder *decoder, uint8_t *pixels, size_t stride) {
    if (!decoder->png) return CPNG_DAMAGED;
    if (setjmp(png_jmpbuf(decoder->png))) return failed(decoder);
    for (int pass = 0; pass < decoder->passes; pass++)
        for (uint32_t y = 0; y < decoder->height; y++)
            png_read_row(decoder->png, pixels + y * stride, NULL);
    return CPNG_OK;
}

enum cpng_status cpng_decoder_finish(cpng_decoder *decoder) {
    if (!decoder->png) return CPNG_DAMAGED;
    if (setjmp(png_jmpbuf(decoder->png))) return failed(decoder);
    png_read_end(decoder->png, NULL);
    release(decoder);
    return CPNG_OK;
}
