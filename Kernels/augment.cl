// From photographs' bytes to the network's input in one pass: crop, warp, colour cast, vignette, normalise.
//
// bytes, cache0…cache3: RGB, interleaved, rows without gaps, one readable byte behind the last; records, of the whole mini-batch: where each photograph
// lies and what is done to it, as in Swift's `CropRecord`; `first` is the record of the first image made.
// output [batch][size][size][4] float32 NHWC, the fourth lane 0.
// A plain crop is 0, the mean colour, outside the photograph; effects see its edges reflected (docs/augmentation.md has the formulas).
// A work-item makes the pixels of a row whose columns are its first index plus multiples of the range: GPUs launch a work-item a pixel,
// CPUs one a row. Launch: global (size or 1, size, batch), local (min(size, 64) or 1, 1, 1).

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

// The window's edge is a mirror just outside its last pixel; what lies farther out than one reflection reaches takes the edge's pixel.
static int reflect(int i, const int low, const int high) {
    if (i < low) i = 2 * low - 1 - i;
    if (i >= high) i = 2 * high - 1 - i;
    return clamp(i, low, high - 1);
}

static float4 pixel_at(const global uchar *pixels, const size_t offset) { return convert_float4(vload4(0, pixels + offset)); }

kernel void crop_warp_normalize(const global uchar *restrict bytes, const global uchar *restrict cache0, const global uchar *restrict cache1,
                                const global uchar *restrict cache2, const global uchar *restrict cache3,
                                const global crop_record *restrict records, global float4 *restrict output, const int size,
                                const int batch, const int first, const float meanRed, const float meanGreen, const float meanBlue,
                                const float scaleRed, const float scaleGreen, const float scaleBlue) {
    const int row = get_global_id(1), image = get_global_id(2);
    if (row >= size || image >= batch) return;
    const global crop_record *record = records + first + image;
    const int source = record->source;
    const global uchar *pixels =
        (source == 0 ? bytes : source == 1 ? cache0 : source == 2 ? cache1 : source == 3 ? cache2 : cache3) + record->offset;
    const int width = record->width, height = record->height, effects = record->effects;
    const float4 mean = (float4)(meanRed, meanGreen, meanBlue, 0.0f);
    // Division by 255 comes last in one multiplication with 1 / (255 · deviation); the fourth lane's scale of 0 drops the byte behind the pixel.
    const float4 scale = (float4)(scaleRed, scaleGreen, scaleBlue, 0.0f);
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
            if (x >= 0 && x < width) value = (pixel_at(line, 3 * (size_t)x) - 255.0f * mean) * scale;
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
    const float strength = record->vignetteStrength, slope = record->vignetteSlope, start = record->vignetteStart * slope;
    // 1 at the corners
    const float unit = slope / (middle + 0.5f) * 0.70710678f;
    for (int column = begin; column < size; column += step) {
        const float u = (float)column - middle;
        const float qx = xx * u + startX, qy = yx * u + startY;
        const float bend = 1.0f + lens * (qx * qx + qy * qy);
        const float sx = centreX + qx * bend, sy = centreY + qy * bend;
        const float wholeX = floor(sx), wholeY = floor(sy);
        int x = (int)wholeX, y = (int)wholeY;
        int right1 = x + 1, below = y + 1;
        if (x < left || right1 >= right || y < top || below >= bottom) {
            x = reflect(x, left, right);
            right1 = reflect(right1, left, right);
            y = reflect(y, top, bottom);
            below = reflect(below, top, bottom);
        }
        const global uchar *upper = pixels + 3 * (size_t)y * width, *lower = pixels + 3 * (size_t)below * width;
        const float shareX = sx - wholeX, shareY = sy - wholeY;
        const float4 a = pixel_at(upper, 3 * x), b = pixel_at(upper, 3 * right1);
        const float4 c = pixel_at(lower, 3 * x), d = pixel_at(lower, 3 * right1);
        const float4 above = a + (b - a) * shareX, under = c + (d - c) * shareX;
        float4 value = above + (under - above) * shareY;
        value = clamp(value + cast, 0.0f, 255.0f);
        if (strength > 0.0f) {
            const float t = clamp(sqrt(u * u + v * v) * unit - start, 0.0f, 1.0f);
            value *= 1.0f - strength * (t * t * (3.0f - 2.0f * t));
        }
        target[column] = (value - 255.0f * mean) * scale;
    }
}
