"""hog_features: an image -> dlib's FHOG features of its cells of 8 x 8 px; compiled by numba.

It is dlib's impl_extract_fhog_features (fhog.h): 18 signed and 9 unsigned orientations and 4 of texture for each cell
that has others on all sides. Gradients and their orientations are dlib's to the bit; sums come in another order, so
that a window's score differs by up to some 3e-6.
"""

import numpy as np
from numba import njit

from spark_job.faces.hog_plan import AROUND, BEFORE, CELL, ORIENTATIONS, PART, PLANES, VOTES
from spark_job.faces.hog_resize import exact, f32, i32, u32, u64

NO_GRADIENT = 256 * 512 + 256  # the place of (0, 0) in the table of orientations, of rows of y and columns of x

# Multiplications and additions may be made one.
fused = njit(nogil=True, boundscheck=False, error_model="numpy", fastmath={"contract", "nnan", "nsz"})


@exact
def _gradients(above, row, below, first, last, red_wins_ties, lengths, directions):
    """The gradient of the colour that has the longest, of columns first to last: its length and its place in the table.

    Of equal ones, dlib's vectors take the last colour, and its loop over the columns that remain of a row the first.
    """
    left, right = row[first - 1 :], row[first + 1 :]
    above, below = above[first:], below[first:]
    for i in range(last - first):
        a, b, c, d = i32(left[i]), i32(right[i]), i32(above[i]), i32(below[i])
        red_x, red_y = f32(i32(b & 255)) - f32(i32(a & 255)), f32(i32(d & 255)) - f32(i32(c & 255))
        a, b, c, d = a >> 8, b >> 8, c >> 8, d >> 8
        green_x, green_y = f32(i32(b & 255)) - f32(i32(a & 255)), f32(i32(d & 255)) - f32(i32(c & 255))
        a, b, c, d = a >> 8, b >> 8, c >> 8, d >> 8
        blue_x, blue_y = f32(i32(b)) - f32(i32(a)), f32(i32(d)) - f32(i32(c))
        red, green, blue = (
            red_x * red_x + red_y * red_y,
            green_x * green_x + green_y * green_y,
            blue_x * blue_x + blue_y * blue_y,
        )
        is_red = (red >= green) if red_wins_ties else (red > green)
        x, y, square = (red_x if is_red else green_x), (red_y if is_red else green_y), (red if is_red else green)
        is_that = (square >= blue) if red_wins_ties else (square > blue)
        x, y, square = (x if is_that else blue_x), (y if is_that else blue_y), (square if is_that else blue)
        lengths[i] = np.sqrt(square)
        directions[i] = u32(i32(y * f32(512) + x + f32(NO_GRADIENT)))


@exact
def _band(pixels, rows, columns, last_row, last_column, band, lengths, directions, pitch):
    """Length and direction of the gradients of the 8 rows between the centres of two rows of cells; or else 0.

    Column x is at x + 4, so that a block of 8 lies between the centres of two columns of cells.
    """
    vectors_end = 1 + max(last_column - 1, 0) // 8 * 8
    lengths[: 8 * pitch] = f32(0)
    directions[: 8 * pitch] = u32(NO_GRADIENT)
    for i in range(8):
        y, at = 8 * band - 4 + i, i * pitch + 4
        if 1 <= y < last_row:
            above, row, below = pixels[(y - 1) * columns :], pixels[y * columns :], pixels[(y + 1) * columns :]
            _gradients(above, row, below, 1, vectors_end, False, lengths[at + 1 :], directions[at + 1 :])
            at += vectors_end
            _gradients(above, row, below, vectors_end, last_column, True, lengths[at:], directions[at:])


@exact
def _carry(votes):
    """The right cells of the last block are the left ones of the next."""
    for o in range(ORIENTATIONS):
        upper, lower = votes[4 * o + 1], votes[4 * o + 3]
        votes[4 * o], votes[4 * o + 1], votes[4 * o + 2], votes[4 * o + 3] = upper, f32(0), lower, f32(0)
    votes[VOTES:] = f32(0)


@exact
def _vote(lengths, directions, pitch, orientations, shares, votes):
    """The px of a block vote for the cells around it: upper left, upper right, lower left, lower right.

    Each adds to one of two sets in turn, so that an addition need not wait for the one before it.
    """
    for i in range(8):
        length, direction, share = lengths[i * pitch :], directions[i * pitch :], shares[32 * i :]
        for j in range(8):
            vote = votes[u64(j & 1) * u64(VOTES) + u64(4) * u64(orientations[u64(direction[j])]) :]
            v = length[j]
            a, b, c, d = share[4 * j] * v, share[4 * j + 1] * v, share[4 * j + 2] * v, share[4 * j + 3] * v
            a, b, c, d = vote[0] + a, vote[1] + b, vote[2] + c, vote[3] + d
            vote[0], vote[1], vote[2], vote[3] = a, b, c, d


@exact
def _histograms(pixels, image, lengths, directions, orientations, shares, votes, cells):
    """cells (rows, orientations, columns) from the pixels, with one more than the image's on each side."""
    rows, columns, cell_rows, cell_columns = image[0], image[1], image[2], image[3]
    last_row, last_column = min(cell_rows * CELL, rows) - 1, min(cell_columns * CELL, columns) - 1
    pitch, along = CELL * (cell_columns + 2), cell_columns + AROUND
    cells[: ORIENTATIONS * along] = f32(0)
    for band in range(cell_rows + 1):
        _band(pixels, rows, columns, last_row, last_column, band, lengths, directions, pitch)
        votes[:] = f32(0)
        upper, lower = cells[band * ORIENTATIONS * along :], cells[(band + 1) * ORIENTATIONS * along :]
        lower[: ORIENTATIONS * along] = f32(0)
        for block in range(cell_columns + 2):
            _carry(votes)
            if block <= cell_columns:
                _vote(lengths[CELL * block :], directions[CELL * block :], pitch, orientations, shares, votes)
            for i in range(VOTES):
                votes[i] += votes[i + VOTES]
            for o in range(ORIENTATIONS):
                upper[o * along + block] += votes[4 * o]
                lower[o * along + block] = votes[4 * o + 2]


@fused
def _add_energy(one, other, energies, count):
    for i in range(count):
        both = one[i] + other[i]
        energies[i] += both * both


@fused
def _norms(above, row, below, norms, count):
    """The norms of the four blocks of 2 x 2 cells that a cell is in, their inverses, and zeros to sum in."""
    epsilon, fifth, tenth = f32(0.0001), f32(0.2), f32(0.1)
    above1, above2, row1, row2, below1, below2 = above[1:], above[2:], row[1:], row[2:], below[1:], below[2:]
    for i in range(count):
        a = fifth * np.sqrt(((row1[i] + row2[i]) + below1[i]) + below2[i] + epsilon)
        b = fifth * np.sqrt(((above1[i] + above2[i]) + row1[i]) + row2[i] + epsilon)
        c = fifth * np.sqrt(((row[i] + row1[i]) + below[i]) + below1[i] + epsilon)
        d = fifth * np.sqrt(((above[i] + above1[i]) + row[i]) + row1[i] + epsilon)
        norms[i], norms[i + PART], norms[i + 2 * PART], norms[i + 3 * PART] = a, b, c, d
        norms[i + 4 * PART], norms[i + 5 * PART] = tenth / a, tenth / b
        norms[i + 6 * PART], norms[i + 7 * PART] = tenth / c, tenth / d
        norms[i + 8 * PART] = norms[i + 9 * PART] = f32(0)
        norms[i + 10 * PART] = norms[i + 11 * PART] = f32(0)


@fused
def _signed(histogram, norms, feature, count):
    """The features of a signed orientation, each of four parts, of which the sums are kept for those of texture."""
    for i in range(count):
        v, a, b, c, d = histogram[i], norms[i], norms[i + PART], norms[i + 2 * PART], norms[i + 3 * PART]
        a = (v if v < a else a) * norms[i + 4 * PART]
        b = (v if v < b else b) * norms[i + 5 * PART]
        c = (v if v < c else c) * norms[i + 6 * PART]
        d = (v if v < d else d) * norms[i + 7 * PART]
        feature[i] = (a + b) + (c + d)
        norms[i + 8 * PART] += a
        norms[i + 9 * PART] += b
        norms[i + 10 * PART] += c
        norms[i + 11 * PART] += d


@fused
def _unsigned(histogram, opposite, norms, feature, count):
    for i in range(count):
        v = histogram[i] + opposite[i]
        a, b, c, d = norms[i], norms[i + PART], norms[i + 2 * PART], norms[i + 3 * PART]
        a = (v if v < a else a) * norms[i + 4 * PART]
        b = (v if v < b else b) * norms[i + 5 * PART]
        c = (v if v < c else c) * norms[i + 6 * PART]
        d = (v if v < d else d) * norms[i + 7 * PART]
        feature[i] = (a + b) + (c + d)


@fused
def _texture(sums, feature, count):
    for i in range(count):
        feature[i] = sums[i] * f32(2 * 0.2357)


@fused
def _row(cells, along, energies, norms, features, plane, count):
    """The features of a row of cells; features: where it begins in the first plane; plane: from one to the next."""
    for start in range(0, count, PART):
        part = (min(count - start, PART) + 7) // 8 * 8  # there is room for as many, and vectors leave no rest
        _norms(energies[start:], energies[along + start :], energies[2 * along + start :], norms, part)
        for o in range(ORIENTATIONS):
            _signed(cells[o * along + start :], norms, features[o * plane + start :], part)
        for o in range(ORIENTATIONS // 2):
            opposite = cells[(o + 9) * along + start :]
            _unsigned(cells[o * along + start :], opposite, norms, features[(18 + o) * plane + start :], part)
        for t in range(4):
            _texture(norms[(8 + t) * PART :], features[(27 + t) * plane + start :], part)


@exact
def features(pixels, image, lengths, directions, orientations, shares, votes, cells, energies, norms, out):
    """out (planes, rows, pitch): the features, with zeros around them; the rest is as hog.Plan has it."""
    _histograms(pixels, image, lengths, directions, orientations, shares, votes, cells)
    rows, columns, height, pitch = image[2], image[3], image[4], image[5]
    along, plane = columns + AROUND, height * pitch
    for row in range(rows):
        energy, cell = energies[row * along : (row + 1) * along], cells[(row + 1) * ORIENTATIONS * along + 1 :]
        energy[:] = f32(0)
        for o in range(ORIENTATIONS // 2):
            _add_energy(cell[o * along :], cell[(o + 9) * along :], energy, columns)
    for row in range(rows - 2):
        cell, first = cells[(row + 2) * ORIENTATIONS * along + 2 :], out[(row + BEFORE) * pitch + BEFORE :]
        _row(cell, along, energies[row * along :], norms, first, plane, columns - 2)
    for p in range(PLANES):
        _clear_around(out[p * plane : (p + 1) * plane], rows - 2, columns - 2, height, pitch)


@exact
def _clear_around(plane, rows, columns, height, pitch):
    """Zeros before the first row of a plane, after the last, and at both ends of each."""
    plane[: BEFORE * pitch] = f32(0)
    plane[(BEFORE + rows) * pitch :] = f32(0)
    for row in range(BEFORE, BEFORE + rows):
        plane[row * pitch : row * pitch + BEFORE] = f32(0)
        plane[row * pitch + BEFORE + columns : (row + 1) * pitch] = f32(0)
