"""hog_kernels: dlib's HOG face detector, from a photo to the windows that hold a face; compiled by numba.

It is dlib's scan_fhog_pyramid with separable filters (scan_fhog_pyramid.h, spatial_filtering.h). machine_code keeps what
comes of it, for workers to run without numba; hog calls it. hog_resize and hog_features have the first two steps.
"""

import numpy as np
from numba import carray, cfunc, types

from spark_job.faces.hog_features import features, fused
from spark_job.faces.hog_plan import WINDOW
from spark_job.faces.hog_resize import exact, f32, resize, u32

# A plane of features is taken for one long row: what runs over the end of a row is in columns that nobody reads.


@fused
def _along_row(plane, taps, out, count):
    a, b, c, d, e, f, g, h, i, j = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8], taps[9]
    for x in range(count):
        out[x] = (
            (plane[x] * a + plane[x + 1] * b + plane[x + 2] * c + plane[x + 3] * d)
            + (plane[x + 4] * e + plane[x + 5] * f + plane[x + 6] * g)
        ) + (plane[x + 7] * h + plane[x + 8] * i + plane[x + 9] * j)


@fused
def _along_row_twice(plane, taps, others, out, other_out, count):
    """Two filters at once, for which the plane is read once."""
    a, b, c, d, e, f, g, h, i, j = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8], taps[9]
    k, l, m, n, o, p, q, r, s, t = others[0], others[1], others[2], others[3], others[4], others[5], others[6], others[7], others[8], others[9]
    for x in range(count):
        v0, v1, v2, v3, v4 = plane[x], plane[x + 1], plane[x + 2], plane[x + 3], plane[x + 4]
        v5, v6, v7, v8, v9 = plane[x + 5], plane[x + 6], plane[x + 7], plane[x + 8], plane[x + 9]
        out[x] = ((v0 * a + v1 * b + v2 * c + v3 * d) + (v4 * e + v5 * f + v6 * g)) + (v7 * h + v8 * i + v9 * j)
        other_out[x] = ((v0 * k + v1 * l + v2 * m + v3 * n) + (v4 * o + v5 * p + v6 * q)) + (v7 * r + v8 * s + v9 * t)


@fused
def _add_along_column(rows, pitch, taps, scores, count):
    a, b, c, d, e, f, g, h, i, j = taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8], taps[9]
    r1, r2, r3, r4, r5 = rows[pitch:], rows[2 * pitch :], rows[3 * pitch :], rows[4 * pitch :], rows[5 * pitch :]
    r6, r7, r8, r9 = rows[6 * pitch :], rows[7 * pitch :], rows[8 * pitch :], rows[9 * pitch :]
    for x in range(count):
        scores[x] += (
            (rows[x] * a + r1[x] * b + r2[x] * c + r3[x] * d) + (r4[x] * e + r5[x] * f + r6[x] * g)
        ) + (r7[x] * h + r8[x] * i + r9[x] * j)


@exact
def _scores(planes, height, pitch, filters, taps, sums, scores):
    """scores (detectors, height, pitch), of the window at each cell: the sum of its filters, which come by plane.

    filters: plane and detector of each; taps: those along a row, then those along a column, of each.
    """
    plane, i = height * pitch, 0
    along, down = plane - (WINDOW - 1), (height - (WINDOW - 1)) * pitch - (WINDOW - 1)
    scores[:] = f32(0)
    while i < len(filters) // 2:
        p, detector, tap = filters[2 * i], filters[2 * i + 1], taps[2 * WINDOW * i :]
        one, other = sums[:plane], sums[plane:]
        if 2 * i + 2 < len(filters) and filters[2 * i + 2] == p:
            _along_row_twice(planes[p * plane :], tap, tap[2 * WINDOW :], one, other, along)
            _add_along_column(other, pitch, tap[3 * WINDOW :], scores[filters[2 * i + 3] * plane :], down)
            i += 1
        else:
            _along_row(planes[p * plane :], tap, one, along)
        _add_along_column(one, pitch, tap[WINDOW:], scores[detector * plane :], down)
        i += 1


@exact
def _note(scores, level, image, detector, threshold, found, above, noted):
    """Note the windows of a level that score no less than the threshold, as far as there is room; returns how many of all."""
    height, pitch = image[4], image[5]
    for row in range(image[2] - 2):
        line = scores[(detector * height + row) * pitch :]
        for column in range(image[3] - 2):
            if line[column] >= threshold:
                if noted < len(above):
                    found[4 * noted], found[4 * noted + 1] = detector, level
                    found[4 * noted + 2], found[4 * noted + 3] = row, column
                    above[noted] = line[column] - threshold
                noted += 1
    return noted


@exact
def _pack(photo, pixels):
    """uint8 RGB -> pixels of 32 bits, red in the lowest."""
    for i in range(len(photo) // 3):
        pixels[i] = u32(photo[3 * i]) | (u32(photo[3 * i + 1]) << u32(8)) | (u32(photo[3 * i + 2]) << u32(16))


@exact
def _part(memory, ends, index):
    return memory[ends[index] : ends[index + 1]]


@exact
def _scan(pixels, image, floats, ends, directions, orientations, weights, filters, taps, scores):
    """The scores of an image's windows."""
    planes = _part(floats, ends, 5)
    features(
        pixels, image, _part(floats, ends, 2), directions, orientations, weights, _part(floats, ends, 0),
        _part(floats, ends, 3), _part(floats, ends, 4), _part(floats, ends, 1), planes,
    )  # fmt: skip
    _scores(planes, image[4], image[5], filters, taps, _part(floats, ends, 6), scores)


f32s, i32s, u32s = types.CPointer(types.float32), types.CPointer(types.int32), types.CPointer(types.uint32)
u8s, f64s, ints, count = types.CPointer(types.uint8), types.CPointer(types.float64), types.CPointer(types.intp), types.intp


@cfunc(
    count(u8s, ints, count, count, f32s, ints, u32s, ints, u8s, f32s, i32s, f32s, count, f64s, count, i32s, f64s, count),
    error_model="numpy",
)
def detect(
    photo, images, image_count, doublings, floats, float_ends, numbers, number_ends, orientations, weights,
    filters, taps, filter_count, thresholds, detectors, found, above, limit,
):  # fmt: skip
    """The windows of a photo that score no less than a detector's threshold; returns how many, limit of which are noted.

    found: detector, level, row and column in cells of each; above: what its score has more than the threshold. The other
    arrays are as hog.Plan and hog.Detector have them.
    """
    images, float_ends, number_ends = carray(images, 6 * image_count), carray(float_ends, 10), carray(number_ends, 5)
    floats, numbers = carray(floats, float_ends[9]), carray(numbers, number_ends[4])
    orientations, weights = carray(orientations, 512 * 512), carray(weights, 256)
    filters, taps = carray(filters, 2 * filter_count), carray(taps, 2 * WINDOW * filter_count)
    thresholds, found, above = carray(thresholds, detectors), carray(found, 4 * limit), carray(above, limit)
    directions, room = _part(numbers, number_ends, 0), _part(numbers, number_ends, 1).view(np.int32)
    source, target = _part(numbers, number_ends, 2), _part(numbers, number_ends, 3)
    if doublings % 2 == 1:  # so that the largest image is in the first
        source, target = target, source
    _pack(carray(photo, 3 * images[0] * images[1]), source)
    noted = 0
    for i in range(image_count):
        image = images[6 * i : 6 * i + 6]
        if i >= doublings and min(image[2], image[3]) >= 3:
            plane = image[4] * image[5]
            scores = _part(floats, float_ends, 7)[: detectors * plane]
            _scan(source, image, floats, float_ends, directions, orientations, weights, filters, taps, scores)
            for detector in range(detectors):
                noted = _note(scores, i - doublings, image, detector, thresholds[detector], found, above, noted)
        if i + 1 < image_count:
            smaller = images[6 * i + 6 : 6 * i + 12]
            resize(source, image[0], image[1], target, smaller[0], smaller[1], _part(floats, float_ends, 8), room)
            source, target = target, source
    return noted
