// Dense evaluation: whole photographs of any size as input, the windows of the last feature map as rows of a
// matrix product, and the mean of an image's rows of scores.
//
// Layouts. Photographs RGB, interleaved, rows without gaps, `ImageInput.bytesReadBehind` readable bytes
// behind the last; activations float32 NHWC.

// output [batch][height][width][4] ← whole photographs of one size, mirrored or not; `offsets` has the first
// byte of each, from `first` on. The same numbers as augment.cl's plain crop. A work-item makes the pixels of
// a row whose columns are its first index plus multiples of the range. Launch: global (width, or 1 on CPUs,
// height, batch), local (min(that, 64), 1, 1).
kernel void dense_input(
    const global uchar *restrict bytes, const global ulong *restrict offsets, global float4 *restrict output,
    const int height, const int width, const int batch, const int first, const int mirror,
    const float meanRed, const float meanGreen, const float meanBlue, const float scaleRed,
    const float scaleGreen, const float scaleBlue) {
    const int begin = get_global_id(0), step = get_global_size(0), row = get_global_id(1),
              image = get_global_id(2);
    if (begin >= width || row >= height || image >= batch) return;
    const float4 mean = (float4)(meanRed, meanGreen, meanBlue, 0.0f),
                 scale = (float4)(scaleRed, scaleGreen, scaleBlue, 0.0f);
    const global uchar *line = bytes + offsets[first + image] + (size_t)3 * row * width;
    global float4 *target = output + ((size_t)image * height + row) * width;
    for (int x = begin; x < width; x += step)
        target[x] =
            (convert_float4(vload4(0, line + 3 * (mirror ? width - 1 - x : x))) - 255.0f * mean) * scale;
}

// rows [count][windowHeight][windowWidth][channels] ← windows `first` … of the maps, which are numbered image
// by image, in the order of reading. The work-items of the first dimension together copy one row of a window,
// which lies in one piece. Launch: global (1 on CPUs, else 64, windowHeight, count), local (the first, 1, 1).
kernel void dense_windows(
    const global float *restrict maps, global float *restrict rows, const int mapHeight, const int mapWidth,
    const int channels, const int windowHeight, const int windowWidth, const int first, const int firstRow) {
    const int line = get_global_id(1), window = first + (int)get_global_id(2);
    const int columns = mapWidth - windowWidth + 1, perImage = columns * (mapHeight - windowHeight + 1);
    const int image = window / perImage, y = window % perImage / columns, x = window % perImage % columns;
    const size_t length = (size_t)windowWidth * channels;
    const global float *source = maps + (((size_t)image * mapHeight + y + line) * mapWidth + x) * channels;
    global float *target = rows + ((size_t)(firstRow + (int)get_global_id(2)) * windowHeight + line) * length;
    for (size_t i = 4 * get_global_id(0); i < length; i += 4 * get_global_size(0))
        vstore4(vload4(0, source + i), 0, target + i);
}

// means [images][stride] ← the mean of each image's rows of scores, added in order, one call for each part of
// the rows: this one has the rows `firstRow` to `firstRow + rows` of all, which belong to the images from
// `firstImage` on. `segments` has each image's first row and their number. A work-item takes 16 classes of an
// image. Launch: global (stride / 16, images of this part), local (1, or 16 on GPUs, 1).
kernel void dense_mean(
    const global float *restrict scores, const global int2 *restrict segments, global float *restrict means,
    const int firstImage, const int firstRow, const int rows, const int stride) {
    if (16 * (int)get_global_id(0) >= stride) return;
    const int image = firstImage + (int)get_global_id(1);
    const int2 segment = segments[image];
    const int end = segment.x + segment.y, from = max(segment.x, firstRow), to = min(end, firstRow + rows);
    const global float *source = scores + 16 * get_global_id(0);
    global float *target = means + (size_t)image * stride + 16 * get_global_id(0);
    float16 sum =
        from == segment.x ? vload16(0, source + (size_t)(from - firstRow) * stride) : vload16(0, target);
    for (int row = from == segment.x ? from + 1 : from; row < to; row++)
        sum += vload16(0, source + (size_t)(row - firstRow) * stride);
    vstore16(to == end ? sum / (float)segment.y : sum, 0, target);
}
