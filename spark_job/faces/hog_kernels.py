"""hog_kernels: dlib's HOG face detector, from a photo to the windows that hold a face; compiled by numba.

It is dlib's scan_fhog_pyramid with separable filters (scan_fhog_pyramid.h, spatial_filtering.h). hog_code keeps
what comes of it, for workers to run without numba. hog_resize and hog_features have the first two steps.
"""

import numpy as np
from numba import carray, cfunc, types

from spark_job.faces.hog_features import features, fused
from spark_job.faces.hog_plan import WINDOW
from spark_job.faces.hog_resize import exact, f32, resize, u32

# A plane of features is taken for one long row: what runs over the end of a row is in columns that nobody reads.


@exact
def _ten(taps):
    return taps[0], taps[1], taps[2], taps[3], taps[4], taps[5], taps[6], taps[7], taps[8], taps[9]


# Each product is of three sums, of which none waits for another.


@fused
def _along_row(v, taps, out, count):
    t = _ten(taps)
    for x in range(count):
        some = v[x] * t[0] + v[x + 1] * t[1] + v[x + 2] * t[2] + v[x + 3] * t[3]
        more = v[x + 4] * t[4] + v[x + 5] * t[5] + v[x + 6] * t[6]
        out[x] = (some + more) + (v[x + 7] * t[7] + v[x + 8] * t[8] + v[x + 9] * t[9])


@fused
def _along_row_twice(v, taps, others, out, other_out, count):
    """Two filters at once, for which the plane is read once."""
    t, u = _ten(taps), _ten(others)
    for x in range(count):
        a, b, c, d, e = v[x], v[x + 1], v[x + 2], v[x + 3], v[x + 4]
        f, g, h, i, j = v[x + 5], v[x + 6], v[x + 7], v[x + 8], v[x + 9]
        some, more = a * t[0] + b * t[1] + c * t[2] + d * t[3], e * t[4] + f * t[5] + g * t[6]
        out[x] = (some + more) + (h * t[7] + i * t[8] + j * t[9])
        some, more = a * u[0] + b * u[1] + c * u[2] + d * u[3], e * u[4] + f * u[5] + g * u[6]
        other_out[x] = (some + more) + (h * u[7] + i * u[8] + j * u[9])


@fused
def _add_along_column(v, pitch, taps, scores, count):
    t = _ten(taps)
    b, c, d, e, f = v[pitch:], v[2 * pitch :], v[3 * pitch :], v[4 * pitch :], v[5 * pitch :]
    g, h, i, j = v[6 * pitch :], v[7 * pitch :], v[8 * pitch :], v[9 * pitch :]
    for x in range(count):
        some = v[x] * t[0] + b[x] * t[1] + c[x] * t[2] + d[x] * t[3]
        more = e[x] * t[4] + f[x] * t[5] + g[x] * t[6]
        scores[x] += (some + more) + (h[x] * t[7] + i[x] * t[8] + j[x] * t[9])


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
    """Note the windows of a level that score no less than the threshold, as far as there is room; returns how many."""
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
def _scan(pixels, image, floats, ends, directions, orientations, shares, filters, taps, scores):
    """The scores of an image's windows."""
    planes = _part(floats, ends, 5)
    features(
        pixels, image, _part(floats, ends, 2), directions, orientations, shares, _part(floats, ends, 0),
        _part(floats, ends, 3), _part(floats, ends, 4), _part(floats, ends, 1), planes,
    )  # fmt: skip
    _scores(planes, image[4], image[5], filters, taps, _part(floats, ends, 6), scores)


f32s, i32s, u32s = types.CPointer(types.float32), types.CPointer(types.int32), types.CPointer(types.uint32)
u8s, f64s, ints, n = types.CPointer(types.uint8), types.CPointer(types.float64), types.CPointer(types.intp), types.intp


@cfunc(
    n(u8s, ints, n, n, f32s, ints, u32s, ints, u8s, f32s, i32s, f32s, n, f64s, n, i32s, f64s, n), error_model="numpy"
)
def detect(
    photo, images, image_count, doublings, floats, float_ends, numbers, number_ends, orientations, shares,
    filters, taps, filter_count, thresholds, detectors, found, above, limit,
):  # fmt: skip
    """The windows that score no less than a detector's threshold; returns how many, of which limit are noted.

    found: detector, level, row and column in cells of each; above: its score less the threshold. The other arrays are
    as hog and hog_plan make them.
    """
    images, float_ends, number_ends = carray(images, 6 * image_count), carray(float_ends, 10), carray(number_ends, 5)
    floats, numbers = carray(floats, float_ends[9]), carray(numbers, number_ends[4])
    orientations, shares = carray(orientations, 512 * 512), carray(shares, 256)
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
            _scan(source, image, floats, float_ends, directions, orientations, shares, filters, taps, scores)
            for detector in range(detectors):
                noted = _note(scores, i - doublings, image, detector, thresholds[detector], found, above, noted)
        if i + 1 < image_count:
            smaller = images[6 * i + 6 : 6 * i + 12]
            resize(source, image[0], image[1], target, smaller[0], smaller[1], _part(floats, float_ends, 8), room)
            source, target = target, source
    return noted
