"""Moments: exact sums of embeddings, so that a mean has the same bits however it was computed.

Each float32 value is rounded once to a multiple of 2^-40 and summed as an integer. Integer addition is
associative, so partitions, order, retries and cluster size cannot change the result.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DIMENSIONS = 128
FRACTION_BITS = 40
# A rounded value is below 2^41 in magnitude and its halves below 2^21: int64 holds the sums of 2^20 products
# of halves. Fewer rows at a time keep the memory small.
ROWS_A_PARTIAL = 2**14
HALF_BITS = 20
INT_BYTES = 16  # sums of squares of 2^44 faces


@dataclass(frozen=True)
class Moments:
    """count of embeddings, and per dimension the sum of their values (in 2^-40) and of their squares (2^-80)."""

    count: int = 0
    sums: tuple[int, ...] = (0,) * DIMENSIONS
    squares: tuple[int, ...] = (0,) * DIMENSIONS

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> "Moments":
        """Of float32 (n, 128). Raises ValueError on a value that is not finite or not below 2 in magnitude."""
        partials = (
            _partial(embeddings[start : start + ROWS_A_PARTIAL]) for start in range(0, len(embeddings), ROWS_A_PARTIAL)
        )
        return sum(partials, start=cls())

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
        )

    def mean(self) -> NDArray[np.float64]:
        """The exact mean, rounded once to float64 (128,)."""
        return np.array([_ratio(total, self.count, FRACTION_BITS) for total in self.sums])

    def std(self) -> NDArray[np.float64]:
        """The standard deviation of the values, as numpy.std gives it (128,)."""
        return np.sqrt([_ratio(n2_variance, self.count**2, 2 * FRACTION_BITS) for n2_variance in self._spread()])

    def standard_error(self) -> NDArray[np.float64] | None:
        """The standard error of the mean, from the sample deviation (ddof=1), as scipy.stats.sem (128,).

        None for one embedding, which says nothing of its own error.
        """
        if self.count < 2:
            return None
        return np.sqrt(
            [_ratio(spread, self.count**2 * (self.count - 1), 2 * FRACTION_BITS) for spread in self._spread()]
        )

    def _spread(self) -> Iterator[int]:
        """count^2 times the variance of each dimension, an exact integer in 2^-80."""
        return (self.count * q - s * s for s, q in zip(self.sums, self.squares, strict=True))

    def to_bytes(self) -> bytes:
        """count, sums and squares as 16-byte little-endian integers: a cell of a Spark row."""
        return b"".join(
            value.to_bytes(INT_BYTES, "little", signed=True) for value in (self.count, *self.sums, *self.squares)
        )

    @classmethod
    def from_bytes(cls, cell: bytes) -> "Moments":
        values = [
            int.from_bytes(cell[at : at + INT_BYTES], "little", signed=True) for at in range(0, len(cell), INT_BYTES)
        ]
        return cls(values[0], tuple(values[1 : 1 + DIMENSIONS]), tuple(values[1 + DIMENSIONS :]))


def _partial(embeddings: NDArray[np.float32]) -> Moments:
    """Of at most 2^20 embeddings: the bound of int64."""
    if not (np.abs(embeddings) < 2).all():  # NaN compares false
        raise ValueError("an embedding has a value that is not finite, or not below 2 in magnitude")
    fixed = np.rint(np.ldexp(embeddings.astype(np.float64), FRACTION_BITS)).astype(np.int64)
    high, low = fixed >> HALF_BITS, fixed & (2**HALF_BITS - 1)
    squares = (
        (int(hh) << 2 * HALF_BITS) + (int(hl) << HALF_BITS + 1) + int(ll)
        for hh, hl, ll in zip(_dot(high, high), _dot(high, low), _dot(low, low), strict=True)
    )
    return Moments(len(fixed), tuple(fixed.sum(axis=0).tolist()), tuple(squares))


def _dot(a: NDArray[np.int64], b: NDArray[np.int64]) -> Sequence[int]:
    return (a * b).sum(axis=0).tolist()  # type: ignore[no-any-return]


def _ratio(numerator: int, denominator: int, fraction_bits: int) -> float:
    """numerator / denominator / 2^fraction_bits, rounded once: Python divides integers exactly."""
    return numerator / (denominator << fraction_bits)
