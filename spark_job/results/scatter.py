"""Scatter: exact sums of products of embeddings, from which their covariance follows, in the same bits for any split.

Values are rounded once to multiples of 2^-20: a product of blocks of 2^11 rows by BLAS then adds integers below 2^53,
which float64 holds exactly, in whatever order it adds them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_job.results.moments import DIMENSIONS

VALUE_BITS = 20
NORM_BITS = 16  # a norm is below 2^5
ROWS_A_BLOCK = 2**11
LOW_BITS = 32
# Of a row: its values, its norm, and 1, so that the sums stand beside the products, and the count in the corner.
COLUMNS = DIMENSIONS + 2
NORM, ONE = DIMENSIONS, DIMENSIONS + 1


@dataclass(frozen=True, eq=False)
class Scatter:
    """words: int64 (2, COLUMNS, COLUMNS), whose first times 2^32 plus whose second are the sums of products.

    Of up to 2^42 embeddings: as many blocks as a word may overflow by.
    """

    words: NDArray[np.int64]

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> "Scatter":
        """Of float32 (n, 128), whose values are below 2 in magnitude, as Moments.of sees to."""
        blocks = (_block(embeddings[start : start + ROWS_A_BLOCK]) for start in range(0, len(embeddings), ROWS_A_BLOCK))
        return cls(sum(blocks, start=np.zeros((2, COLUMNS, COLUMNS), np.int64)))

    def __add__(self, other: "Scatter") -> "Scatter":
        return Scatter(self.words + other.words)

    def to_bytes(self) -> bytes:
        """A cell of a Spark row."""
        return self.words.tobytes()

    @classmethod
    def from_bytes(cls, cell: bytes) -> "Scatter":
        return cls(np.frombuffer(cell, np.int64).reshape(2, COLUMNS, COLUMNS))

    def covariance(self) -> NDArray[np.float64] | None:
        """float64 (128, 128), from the sample deviation (ddof=1), as numpy.cov; None for one embedding."""
        products, count = self._products(), self._count()
        if count < 2:
            return None
        sums = products[ONE, :DIMENSIONS]
        spread = count * products[:DIMENSIONS, :DIMENSIONS] - np.outer(sums, sums)
        exact: NDArray[np.float64] = (spread / (count * (count - 1) << 2 * VALUE_BITS)).astype(np.float64)
        return exact

    def mean_norm(self) -> float:
        """The mean of the embeddings' norms, each rounded to 2^-16."""
        return float(self._products()[ONE, NORM] / (self._count() << NORM_BITS))

    def _count(self) -> int:
        return int(self.words[1, ONE, ONE])

    def _products(self) -> NDArray[np.object_]:
        """The sums of products as Python integers."""
        high, low = self.words.astype(object)
        products: NDArray[np.object_] = high * 2**LOW_BITS + low
        return products


def _block(embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """The words of at most 2^11 embeddings."""
    values = np.rint(np.ldexp(embeddings.astype(np.float64), VALUE_BITS))
    norms = np.rint(np.ldexp(np.sqrt((values * values).sum(axis=1)), NORM_BITS - VALUE_BITS))
    rows = np.column_stack([values, norms, np.ones(len(values))])
    products = (rows.T @ rows).astype(np.int64)
    return np.stack([products >> LOW_BITS, products & (2**LOW_BITS - 1)])
