#include "cjpeg.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

// A crafted progressive file can hold thousands of scans of one huge picture; real ones have about ten.
enum { maximum_scans = 200, rows_a_call = 16 };

struct errors {
    struct jpeg_error_mgr manager;  // first, so that libjpeg's pointer to it is a pointer to this
    jmp_buf jump;
    bool end_of_data;  // libjpeg ran out of bytes and made up an end marker
    char message[JMSG_LENGTH_MAX];
};

struct cjpeg_decoder {
    struct jpeg_decompress_struct info;
    struct errors errors;
    struct jpeg_progress_mgr progress;
    JSAMPROW four_channels;  // a row of CMYK on its way to RGB
};

[[noreturn]] static void fail(j_common_ptr info) {
    struct errors *errors = (struct errors *)info->err;
    info->err->format_message(info, errors->message);
    longjmp(errors->jump, 1);
}

static void on_message(j_common_ptr info, int level) {
    if (level >= 0) return;
    struct errors *errors = (struct errors *)info->err;
    errors->manager.num_warnings++;
    switch (errors->manager.msg_code) {
    case JWRN_JPEG_EOF:
        errors->end_of_data = true;  // No harm yet: perhaps only the end marker is missing.
        break;
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
        fail(info);  // pixels are missing: what follows would be grey or noise
    default:
        break;
    }
}

static void on_progress(j_common_ptr common) {
    j_decompress_ptr info = (j_decompress_ptr)common;
    if (info->input_scan_number > maximum_scans) ERREXIT(info, JERR_BAD_PROGRESSION);
}

static enum cjpeg_status status_of(const struct errors *errors) {
    switch (errors->manager.msg_code) {
    case JERR_NO_SOI: return CJPEG_NOT_JPEG;
    case JERR_IMAGE_TOO_BIG: return CJPEG_TOO_LARGE;
    case JERR_OUT_OF_MEMORY: return CJPEG_OUT_OF_MEMORY;
    case JERR_SOF_UNSUPPORTED:
    case JERR_BAD_PRECISION:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_ARITH_NOTIMPL:
    case JERR_NOTIMPL:
    case JERR_NOT_COMPILED: return CJPEG_UNSUPPORTED;
    default: return errors->end_of_data ? CJPEG_TRUNCATED : CJPEG_DAMAGED;
    }
}

static struct jpeg_error_mgr *prepare(struct errors *errors) {
    jpeg_std_error(&errors->manager);
    errors->manager.error_exit = fail;
    errors->manager.emit_message = on_message;
    return &errors->manager;
}

cjpeg_decoder *cjpeg_decoder_create(void) {
    cjpeg_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder) return NULL;
    decoder->info.err = prepare(&decoder->errors);
    if (setjmp(decoder->errors.jump)) {
        jpeg_destroy_decompress(&decoder->info);
        free(decoder);
        return NULL;
    }
    jpeg_create_decompress(&decoder->info);
    jpeg_save_markers(&decoder->info, JPEG_APP0 + 1, 0xFFFF);
    decoder->progress.progress_monitor = on_progress;
    decoder->info.progress = &decoder->progress;
    return decoder;
}

void cjpeg_decoder_destroy(cjpeg_decoder *decoder) {
    if (!decoder) return;
    jpeg_destroy_decompress(&decoder->info);
    free(decoder);
}

const char *cjpeg_decoder_message(const cjpeg_decoder *decoder) { return decoder->errors.message; }

int cjpeg_decoder_warnings(const cjpeg_decoder *decoder) { return (int)decoder->errors.manager.num_warnings; }

static uint32_t exif_number(const uint8_t *at, int bytes, bool big) {
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++) value = value << 8 | at[big ? i : bytes - 1 - i];
    return value;
}

// Every offset is checked, because the bytes may be malicious.
int cjpeg_exif_orientation(const uint8_t *data, size_t count) {
    bool named = count >= 6 && memcmp(data, "Exif\0\0", 6) == 0;
    const uint8_t *tiff = named ? data + 6 : data;
    size_t size = named ? count - 6 : count;
    if (size < 8) return 1;
    bool big = tiff[0] == 'M';
    bool has_order = big ? tiff[1] == 'M' : (tiff[0] == 'I' && tiff[1] == 'I');
    if (!has_order || exif_number(tiff + 2, 2, big) != 42) return 1;
    size_t directory = exif_number(tiff + 4, 4, big);
    if (directory > size - 2) return 1;
    size_t entries = exif_number(tiff + directory, 2, big);
    for (size_t i = 0; i < entries; i++) {
        size_t at = directory + 2 + 12 * i;
        if (at + 12 > size) return 1;
        const uint8_t *entry = tiff + at;
        if (exif_number(entry, 2, big) != 0x0112) continue;
        uint32_t type = exif_number(entry + 2, 2, big);
        int width = type == 3 ? 2 : 4;
        uint32_t value = type == 3 || type == 4 ? exif_number(entry + 8, width, big) : 1;
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

enum cjpeg_status cjpeg_decoder_open(cjpeg_decoder *decoder, const void *bytes, size_t count,
                                     uint32_t maximum_side, cjpeg_header *header) {
    j_decompress_ptr info = &decoder->info;
    jpeg_abort_decompress(info);
    decoder->errors.end_of_data = false;
    decoder->errors.message[0] = 0;
    decoder->four_channels = NULL;
    if (setjmp(decoder->errors.jump)) return status_of(&decoder->errors);
    jpeg_mem_src(info, bytes, count);
    jpeg_read_header(info, TRUE);

    header->width = info->image_width;
    header->height = info->image_height;
    header->components = info->num_components;
    header->orientation = 1;
    header->many_scans = jpeg_has_multiple_scans(info);
    header->coefficient_bytes = 0;
    for (int i = 0; header->many_scans && i < info->num_components; i++)
        header->coefficient_bytes += (uint64_t)info->comp_info[i].width_in_blocks *
                                     info->comp_info[i].height_in_blocks * sizeof(JBLOCK);
    for (jpeg_saved_marker_ptr marker = info->marker_list; marker; marker = marker->next) {
        if (marker->data_length < 6 || memcmp(marker->data, "Exif\0\0", 6) != 0) continue;
        header->orientation = cjpeg_exif_orientation(marker->data, marker->data_length);
        if (header->orientation != 1) break;
    }
    if (header->width > maximum_side || header->height > maximum_side) {
        snprintf(decoder->errors.message, sizeof decoder->errors.message, "%u x %u pixels", header->width,
                 header->height);
        return CJPEG_TOO_LARGE;
    }
    return CJPEG_OK;
}

enum cjpeg_status cjpeg_decoder_start(cjpeg_decoder *decoder, int scale_num, uint32_t *width,
                                      uint32_t *height) {
    j_decompress_ptr info = &decoder->info;
    if (setjmp(decoder->errors.jump)) return status_of(&decoder->errors);
    bool four = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
    info->out_color_space = four ? JCS_CMYK : JCS_RGB;
    info->scale_num = (unsigned)scale_num;
    info->scale_denom = 8;
    jpeg_start_decompress(info);
    // All scans of a file of several have been read now. An end of data between two of them raises no other
    // warning.
    if (decoder->errors.end_of_data && jpeg_has_multiple_scans(info)) {
        bool complete = info->coef_bits != NULL;
        for (int component = 0; complete && component < info->num_components; component++)
            for (int k = 0; k < DCTSIZE2; k++) complete = complete && info->coef_bits[component][k] == 0;
        if (!complete) {
            snprintf(decoder->errors.message, sizeof decoder->errors.message, "the last scans are missing");
            return CJPEG_TRUNCATED;
        }
    }
    if (four)
        decoder->four_channels =
            info->mem->alloc_large((j_common_ptr)info, JPOOL_IMAGE, 4 * (size_t)info->output_width);
    *width = info->output_width;
    *height = info->output_height;
    return CJPEG_OK;
}

enum cjpeg_status cjpeg_decoder_crop(cjpeg_decoder *decoder, uint32_t *first, uint32_t *columns) {
    if (setjmp(decoder->errors.jump)) return status_of(&decoder->errors);
    JDIMENSION from = *first, count = *columns;
    jpeg_crop_scanline(&decoder->info, &from, &count);
    *first = from;
    *columns = count;
    return CJPEG_OK;
}

enum cjpeg_status cjpeg_decoder_skip(cjpeg_decoder *decoder, uint32_t rows) {
    if (setjmp(decoder->errors.jump)) return status_of(&decoder->errors);
    return jpeg_skip_scanlines(&decoder->info, rows) == rows ? CJPEG_OK : CJPEG_DAMAGED;
}

static inline uint8_t scaled(unsigned a, unsigned b) { return (uint8_t)((a * b + 127) / 255); }

/// Adobe's files hold 255 − ink, others the ink.
static void rgb_from_cmyk(const uint8_t *from, uint8_t *to, size_t pixels, bool inverted) {
    uint8_t flip = inverted ? 0 : 255;
    for (size_t i = 0; i < pixels; i++, from += 4, to += 3) {
        unsigned light = from[3] ^ flip;
        for (int c = 0; c < 3; c++) to[c] = scaled(from[c] ^ flip, light);
    }
}

enum cjpeg_status cjpeg_decoder_read(cjpeg_decoder *decoder, uint8_t *pixels, size_t stride, uint32_t rows) {
    j_decompress_ptr info = &decoder->info;
    uint32_t first = info->output_scanline;
    if (setjmp(decoder->errors.jump)) return status_of(&decoder->errors);
    while (info->output_scanline < first + rows) {
        uint8_t *row = pixels + (size_t)(info->output_scanline - first) * stride;
        if (decoder->four_channels) {
            if (jpeg_read_scanlines(info, &decoder->four_channels, 1) == 0) break;
            rgb_from_cmyk(decoder->four_channels, row, info->output_width, info->saw_Adobe_marker);
        } else {
            JSAMPROW pointers[rows_a_call];
            uint32_t left = first + rows - info->output_scanline;
            uint32_t now = left < rows_a_call ? left : rows_a_call;
            for (uint32_t i = 0; i < now; i++) pointers[i] = row + i * stride;
            if (jpeg_read_scanlines(info, pointers, now) == 0) break;
        }
    }
    // Arithmetic coding reads zeros past the end without a warning of its own.
    if (info->arith_code && decoder->errors.end_of_data) {
        snprintf(decoder->errors.message, sizeof decoder->errors.message, "the data ends early");
        return CJPEG_TRUNCATED;
    }
    return info->output_scanline == first + rows ? CJPEG_OK : CJPEG_DAMAGED;
}

struct output {
    unsigned char *bytes;
    unsigned long count;
};

enum cjpeg_status cjpeg_encode(const uint8_t *pixels, cjpeg_encoding encoding, uint8_t **output,
                               size_t *output_count, char message[200]) {
    struct jpeg_compress_struct info = {0};
    struct errors errors = {0};
    // Memory outside of this frame, because longjmp may lose changes of locals, and libjpeg's signature does
    // not allow volatile.
    struct output *result = calloc(1, sizeof *result);
    *output = NULL;
    *output_count = 0;
    message[0] = 0;
    if (!result) return CJPEG_OUT_OF_MEMORY;
    info.err = prepare(&errors);
    if (setjmp(errors.jump)) {
        enum cjpeg_status status = status_of(&errors);
        snprintf(message, 200, "%s", errors.message);
        jpeg_destroy_compress(&info);
        free(result->bytes);
        free(result);
        return status;
    }
    static const J_COLOR_SPACE spaces[] = {JCS_GRAYSCALE, JCS_RGB, JCS_YCbCr, JCS_CMYK, JCS_YCCK};
    jpeg_create_compress(&info);
    jpeg_mem_dest(&info, &result->bytes, &result->count);
    bool grey = encoding.stored == CJPEG_GREY, four = encoding.stored >= CJPEG_CMYK;
    info.image_width = encoding.width;
    info.image_height = encoding.height;
    info.input_components = grey ? 1 : four ? 4 : 3;
    info.in_color_space = grey ? JCS_GRAYSCALE : four ? JCS_CMYK : JCS_RGB;
    jpeg_set_defaults(&info);
    jpeg_set_colorspace(&info, spaces[encoding.stored]);
    if (encoding.stored == CJPEG_YCC) {
        info.comp_info[0].h_samp_factor = encoding.across;
        info.comp_info[0].v_samp_factor = encoding.down;
    }
    jpeg_set_quality(&info, encoding.quality, TRUE);
    if (encoding.progressive) jpeg_simple_progression(&info);
    jpeg_start_compress(&info, TRUE);
    size_t stride = (size_t)encoding.width * (size_t)info.input_components;
    while (info.next_scanline < encoding.height) {
        JSAMPROW row = (JSAMPROW)(pixels + info.next_scanline * stride);
        jpeg_write_scanlines(&info, &row, 1);
    }
    jpeg_finish_compress(&info);
    jpeg_destroy_compress(&info);
    *output = result->bytes;
    *output_count = result->count;
    free(result);
    return CJPEG_OK;
}

void cjpeg_free(uint8_t *output) { free(output); }
