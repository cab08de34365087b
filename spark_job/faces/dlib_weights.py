"""dlib_weights: a dlib network file -> its layers, from the input to the output.

The format is that of dlib's serialize.h, tensor.h and dnn/layers.h. A file holds the loss layer,
one version number for each nested layer, and then the layers themselves, innermost first. Each
layer is its name, its own fields, and what dlib keeps for training (three flags, three tensors).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import ModelError

# The fields of each kind of layer: i integer, r real, t tensor, a the shape of a part of a tensor.
FIELDS = {
    "loss_metric_2": "rr",
    "loss_mmod_": "iiirrrrrrr",
    "input_rgb_image_sized": "rrrii",
    "input_rgb_image_pyramid": "rrr",
    "con_4": "tiiiiiiiaarrrr",
    "affine_": "taai",
    "bn_con2": "taattttiirrrrr",
    "relu_": "",
    "max_pool_2": "iiiiii",
    "avg_pool_2": "iiiiii",
    "add_prev_": "",
    "fc_2": "iitaairrrr",
}
# Version numbers: 1 of a tag or a skip, which have no fields, 2 and 3 of a layer. A larger number
# in their place is the length of the name that follows them.
TAG_VERSION = 1
MAX_LAYER_VERSION = 3


class Layer(NamedTuple):
    """One layer: its kind (a key of FIELDS), its numbers and its flat float32 tensors, in order."""

    kind: str
    numbers: tuple[float, ...]
    tensors: tuple[NDArray[np.float32], ...]


class Network(NamedTuple):
    """A network: what it was trained for, how it reads an image, and its layers in order of use."""

    loss: Layer
    input: Layer
    layers: list[Layer]


def read_network(data: bytes) -> Network:
    """Raises ModelError where data is not, to its last byte, a network of the known layers."""
    reader = Reader(data)
    try:
        reader.integer()
        loss = reader.layer(reader.name(reader.integer()))
        announced = 0
        while (number := reader.integer()) <= MAX_LAYER_VERSION:
            announced += number > TAG_VERSION
        input_layer = reader.layer(reader.name(number))
        layers = [reader.layer(reader.name(reader.integer()))]
        reader.training_state()
        reader.integer()  # the innermost layer alone says how many samples it makes of one
        while not reader.at_end():
            layers.append(reader.layer(reader.name(reader.integer())))
            reader.training_state()
    except DamagedError as error:
        raise ModelError(f"not a dlib network that facemean knows: {error}") from None
    if len(layers) != announced:
        raise ModelError(f"a damaged dlib network: {len(layers)} layers of {announced}")
    return Network(loss, input_layer, layers)


class DamagedError(Exception):
    """The bytes cannot be what dlib wrote."""


class Reader:
    """A place in a file's bytes, and dlib's primitives read from there on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def at_end(self) -> bool:
        return self._at == len(self._data)

    def layer(self, kind: str) -> Layer:
        if kind not in FIELDS:
            raise DamagedError(f"unknown layer {kind!r} before byte {self._at}")
        numbers: list[float] = []
        tensors: list[NDArray[np.float32]] = []
        for field in FIELDS[kind]:
            if field == "t":
                tensors.append(self._tensor())
            elif field == "a":
                self._shape(version=1)
            else:
                numbers.append(self.integer() if field == "i" else self.real())
        return Layer(kind, tuple(numbers), tuple(tensors))

    def training_state(self) -> None:
        """Skip the flags and tensors that only training needs."""
        if not set(self._take(3)) <= set(b"01"):
            raise DamagedError(f"no flags before byte {self._at}")
        for _ in range(3):
            self._tensor()

    def name(self, length: int) -> str:
        return self._take(length).decode("ascii", "backslashreplace")

    def integer(self) -> int:
        """A byte of sign and size, then that many bytes, the least first."""
        head = self._take(1)[0]
        size = head & 0x0F
        if not 1 <= size <= 8:
            raise DamagedError(f"an integer of {size} bytes before byte {self._at}")
        value = int.from_bytes(self._take(size), "little")
        return -value if head & 0x80 else value

    def real(self) -> float:
        """A mantissa and a binary exponent; dlib's codes for infinities and NaN are no weights."""
        mantissa, exponent = self.integer(), self.integer()
        if not -1200 <= exponent <= 960:
            raise DamagedError(f"no finite number before byte {self._at}")
        return math.ldexp(mantissa, exponent)

    def _shape(self, version: int) -> int:
        """The number of elements; samples, channels, rows and columns are stored."""
        if self.integer() != version:
            raise DamagedError(f"no tensor of version {version} before byte {self._at}")
        sizes = [self.integer() for _ in range(4)]
        if min(sizes) < 0:
            raise DamagedError(f"a negative size before byte {self._at}")
        return math.prod(sizes)

    def _tensor(self) -> NDArray[np.float32]:
        count = self._shape(version=2)
        values = np.frombuffer(self._take(4 * count), dtype="<f4").astype(np.float32)
        if not np.isfinite(values).all():
            raise DamagedError(f"a weight that is no finite number before byte {self._at}")
        return values

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self._data) - self._at:
            raise DamagedError(f"it ends, or is damaged, at byte {self._at}")
        self._at += count
        return self._data[self._at - count : self._at]
