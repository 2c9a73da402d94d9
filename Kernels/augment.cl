// From photographs' bytes to the network's input: crop, mirror, normalise.
//
// bytes: RGB, interleaved, rows without gaps; records, of the whole mini-batch, {byte offset, width, height, crop x, crop y, mirror}, as in Swift's `CropRecord`;
// `first` is the record of the first image made.
// output [batch][size][size][4] float32 NHWC, the fourth lane 0. Pixels outside the photograph become 0, the mean colour.
// A work-item makes one pixel. Launch: global (size, size, batch), local (min(size, 64), 1, 1).

typedef struct {
    ulong offset;
    int width, height;
    int x, y;
    int mirror;
    int unused;
} crop_record;

kernel void crop_mirror_normalize(const global uchar *restrict bytes, const global crop_record *restrict records,
                                  global float4 *restrict output, const int size, const int batch, const int first,
                                  const float meanRed,
                                  const float meanGreen, const float meanBlue, const float scaleRed, const float scaleGreen,
                                  const float scaleBlue) {
    const int column = get_global_id(0), row = get_global_id(1), image = get_global_id(2);
    if (column >= size || row >= size || image >= batch) return;
    const crop_record record = records[first + image];
    const int x = record.x + (record.mirror ? size - 1 - column : column), y = record.y + row;
    float4 value = (float4)(0.0f);
    if (x >= 0 && x < record.width && y >= 0 && y < record.height) {
        const global uchar *pixel = bytes + record.offset + 3 * ((size_t)y * record.width + x);
        // Division by 255 comes last in one multiplication with 1 / (255 · deviation).
        value.x = ((float)pixel[0] - 255.0f * meanRed) * scaleRed;
        value.y = ((float)pixel[1] - 255.0f * meanGreen) * scaleGreen;
        value.z = ((float)pixel[2] - 255.0f * meanBlue) * scaleBlue;
    }
    output[((size_t)image * size + row) * size + column] = value;
}
