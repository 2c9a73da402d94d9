// From photographs' bytes to the network's input in one pass: crop, warp, colour cast, vignette, normalise.
//
// bytes, cache0…cache3: RGB, interleaved, rows without gaps, `ImageInput.bytesReadBehind` readable bytes
// behind the last; records, of this rank's part of the mini-batch: where each photograph lies and what is
// done to it, as in Swift's `CropRecord`; `first` is the record of the first image made.
// output [batch][size][size][4] float32 NHWC, the fourth lane 0.
// A plain crop is 0, the mean colour, outside the photograph; effects see its edges reflected
// (docs/augmentation.md has the formulas).
// A work-item makes the pixels of a row whose columns are its first index plus multiples of the range: a
// GPU's makes one pixel, a CPU's a row.
// Launch: global (size or 1, size, batch), local (min(size, 64) or 1, 1, 1).
// Tuning macro: BLOCK (1 or 16), pixels of a warp whose places are computed together; 16 on CPUs.

#include "fetch.h"

typedef struct {
    ulong offset;
    int width, height;
    int x, y;
    int mirror;
    int source;                    // 0: bytes, 1…4: cache0…cache3
    int effects;                   // 0: a plain crop
    int left, top, right, bottom;  // the window that effects may read: columns left ..< right
    float xx, xy, yx, yy;          // output to source, about the crop's centre
    float lens;                    // of a squared distance in pixels
    float vignetteStart, vignetteSlope, vignetteStrength;
    float castRed, castGreen, castBlue;
} crop_record;

#if BLOCK == 16
typedef float16 floats;
typedef int16 ints;
#define FLOATS(x) convert_float16(x)
#define INTS(x) convert_int16(x)
#define PUT(value, array) vstore16(value, 0, array)
#define ANY(x) any(x)
#define STEPS ((int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
#else
typedef float floats;
typedef int ints;
#define FLOATS(x) convert_float(x)
#define INTS(x) convert_int(x)
#define PUT(value, array) (array)[0] = (value)
#define ANY(x) (x)
#define STEPS 0
#endif

// The window's edge is a mirror just outside its last pixel; what lies farther out than one reflection
// reaches takes the edge's pixel.
static ints reflect(ints i, const int low, const int high) {
    i = max(i, 2 * low - 1 - i);
    i = min(i, 2 * high - 1 - i);
    return clamp(i, (ints)low, (ints)(high - 1));
}

static ints whole(const floats x) {
    const ints i = INTS(x);
    return select(i, i - 1, FLOATS(i) > x);
}

static float4 pixel_at(const global uchar *pixels, const int offset) {
    return convert_float4(vload4(0, pixels + offset));
}

kernel void crop_warp_normalize(
    const global uchar *restrict bytes, const global uchar *restrict cache0,
    const global uchar *restrict cache1, const global uchar *restrict cache2,
    const global uchar *restrict cache3, const global crop_record *restrict records,
    global float4 *restrict output, const int size, const int batch, const int first, const float meanRed,
    const float meanGreen, const float meanBlue, const float scaleRed, const float scaleGreen,
    const float scaleBlue) {
    const int row = get_global_id(1), image = get_global_id(2);
    if (row >= size || image >= batch) return;
    const global crop_record *record = records + first + image;
    const int source = record->source;
    const global uchar *pixels = (source == 0      ? bytes
                                     : source == 1 ? cache0
                                     : source == 2 ? cache1
                                     : source == 3 ? cache2
                                                   : cache3) +
                                 record->offset;
    const int width = record->width, height = record->height, effects = record->effects;
    // The scale is 1 / (255 · deviation); the fourth lane's 0 drops the byte behind the pixel.
    const float4 scale = (float4)(scaleRed, scaleGreen, scaleBlue, 0.0f);
    const float4 shift = 255.0f * (float4)(meanRed, meanGreen, meanBlue, 0.0f) * scale;
    global float4 *target = output + ((size_t)image * size + row) * size;
    const int begin = get_global_id(0), step = get_global_size(0);

    if (effects == 0) {
        const int y = record->y + row;
        if (y < 0 || y >= height) {
            for (int column = begin; column < size; column += step) target[column] = (float4)(0.0f);
            return;
        }
        const global uchar *line = pixels + 3 * (size_t)y * width;
        const int direction = record->mirror ? -1 : 1;
        const int start = record->x + (record->mirror ? size - 1 : 0);
        for (int column = begin; column < size; column += step) {
            const int x = start + direction * column;
            float4 value = (float4)(0.0f);
            if (x >= 0 && x < width) value = pixel_at(line, 3 * x) * scale - shift;
            target[column] = value;
        }
        return;
    }

    const int left = record->left, top = record->top, right = record->right, bottom = record->bottom;
    const float middle = 0.5f * (float)size - 0.5f;
    const float centreX = (float)record->x + middle, centreY = (float)record->y + middle;
    const float xx = record->xx, yx = record->yx, lens = record->lens;
    const float v = (float)row - middle;
    const float startX = record->xy * v, startY = record->yy * v;
    const float4 cast = (float4)(record->castRed, record->castGreen, record->castBlue, 0.0f);
    const float strength = record->vignetteStrength, slope = record->vignetteSlope,
                start = record->vignetteStart * slope;
    // 1 at the corners
    const float unit = slope / (middle + 0.5f) * 0.70710678f;
    if (BLOCK > 1) {
        // A turned row crosses many rows of the photograph, which no hardware foresees. Below the lowest that
        // it reads, one a little farther is fetched ahead, for the rows that come next.
        const float reach =
            (startY + fabs(yx) * middle) * (1.0f + lens * (startX * startX + startY * startY));
        const int y = (int)clamp(centreY + reach + 6.0f, (float)top, (float)(bottom - 1));
        const global uchar *line = pixels + 3 * ((size_t)y * width + clamp(record->x, left, right - 1));
        for (int i = 0; i < 3 * size; i += 64) FETCH(line + i, 1);
    }
    for (int column = begin * BLOCK; column < size; column += step * BLOCK) {
        const floats u = FLOATS(column + STEPS) - middle;
        const floats qx = xx * u + startX, qy = yx * u + startY;
        const floats bend = 1.0f + lens * (qx * qx + qy * qy);
        const floats sx = centreX + qx * bend, sy = centreY + qy * bend;
        const ints x = whole(sx), y = whole(sy);
        const floats partX = sx - FLOATS(x), partY = sy - FLOATS(y);
        ints x0 = x, x1 = x + 1, y0 = y, y1 = y + 1;
        if (ANY((x < left) | (x1 >= right) | (y < top) | (y1 >= bottom))) {
            x0 = reflect(x0, left, right), x1 = reflect(x1, left, right);
            y0 = reflect(y0, top, bottom), y1 = reflect(y1, top, bottom);
        }
        const floats t = clamp(sqrt(u * u + v * v) * unit - start, 0.0f, 1.0f);
        int upper[BLOCK], lower[BLOCK];
        float shareX[BLOCK], shareY[BLOCK], light[BLOCK];
        // Reflected or not, the two columns are the same or neighbours: one load a row has both, the left one
        // first.
        PUT(3 * (y0 * width + min(x0, x1)), upper);
        PUT(3 * (y1 * width + min(x0, x1)), lower);
        PUT(select(select((floats)(0.0f), partX, x1 > x0), 1.0f - partX, x0 > x1), shareX);
        PUT(partY, shareY);
        PUT(1.0f - strength * (t * t * (3.0f - 2.0f * t)), light);
        const int count = min(BLOCK, size - column);
        for (int i = 0; i < count; i++) {
            const float8 above = convert_float8(vload8(0, pixels + upper[i])),
                         below = convert_float8(vload8(0, pixels + lower[i]));
            const float8 both = above + (below - above) * shareY[i];
            const float4 west = both.s0122, east = both.s3455;
            const float4 value = clamp(west + (east - west) * shareX[i] + cast, 0.0f, 255.0f);
            target[column + i] = value * (light[i] * scale) - shift;
        }
    }
}
