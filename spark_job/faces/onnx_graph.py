"""onnx_graph: dlib's networks as ONNX models, with each normalisation folded into its convolution.

Both are written for ONNX Runtime's blocked layout (NCHWc), in which a convolution takes the Add and
the Relu after it along. What would leave that layout is written as a convolution too.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spark_job.errors import ModelError
from spark_job.faces.dlib_weights import Layer, Network

OPSET, IR_VERSION = 18, 9  # ONNX Runtime 1.16 and later read them
PIXEL_SCALE = 256.0  # dlib's input layers give (pixel - mean) / 256

# Kinds of layers, in order of use.
STEM = ("con_4", "affine_", "relu_", "max_pool_2")
BLOCK = ("con_4", "affine_", "relu_", "con_4", "affine_", "add_prev_", "relu_")
DOWN = ("con_4", "affine_", "relu_", "con_4", "affine_", "avg_pool_2", "add_prev_", "relu_")
BLOCKS = (*[BLOCK] * 3, DOWN, *[BLOCK] * 3, DOWN, *[BLOCK] * 2, DOWN, *[BLOCK] * 2, DOWN)
RESNET = (*STEM, *(kind for block in BLOCKS for kind in block), "avg_pool_2", "fc_2")
MMOD = (*("con_4", "bn_con2", "relu_") * 6, "con_4")


class Conv(NamedTuple):
    """weight (out, in, rows, columns), bias (out,), stride, pads px (top, left, bottom, right)."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64] | None = None
    stride: int = 1
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


class Graph:
    """Nodes and weights while a model is written; a node is known by the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{operator}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, step: Conv) -> str:
        inputs = [x]
        for values in (step.weight, step.bias):
            if values is not None:
                name = f"weight{len(self._weights)}"
                array = np.ascontiguousarray(values, dtype=np.float32)
                self._weights.append(numpy_helper.from_array(array, name))
                inputs.append(name)
        return self.node("Conv", *inputs, strides=[step.stride] * 2, pads=list(step.pads))

    def model(self, x: str, dtype: int, shape: list[Any], y: str, y_shape: list[Any]) -> Any:
        """The model from input x to output y, checked."""
        inputs = [helper.make_tensor_value_info(x, dtype, shape)]
        outputs = [helper.make_tensor_value_info(y, TensorProto.FLOAT, y_shape)]
        graph = helper.make_graph(self._nodes, "facemean", inputs, outputs, self._weights)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model


def resnet(network: Network) -> bytes:
    """dlib's face_recognition_model_v1: chips uint8 (n, 150, 150, 3) RGB -> float32 (n, 128).

    Raises ModelError where the network is another one.
    """
    _expect(network, "loss_metric_2", RESNET)
    graph, steps = Graph(), _convolutions(network)
    x = graph.node("Transpose", "chips", perm=[0, 3, 1, 2])
    x = graph.node("Cast", x, to=TensorProto.FLOAT)
    x = graph.node("Relu", graph.conv(x, _of_pixels(steps.pop(0), network.input)))
    x = graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    channels, side = 32, 35  # px: 150 after a 7x7 and a 3x3 window, both of stride 2
    for block in BLOCKS:
        first, second = steps.pop(0), steps.pop(0)
        y = graph.conv(graph.node("Relu", graph.conv(x, first)), second)
        if block == DOWN:
            x, y = _shrink(graph, (x, channels), (y, len(second.weight)), side)
            side //= 2
        x = graph.node("Relu", graph.node("Add", y, x))
        channels = len(second.weight)
    x = graph.node("GlobalAveragePool", x)
    # A convolution: a matrix product may sum in another order for another number of faces.
    dense = _sized(network.layers[-1].tensors[0], channels * 128).reshape(channels, 128).T
    x = graph.node("Flatten", graph.conv(x, Conv(dense[:, :, None, None])))
    model = graph.model("chips", TensorProto.UINT8, ["n", 150, 150, 3], x, ["n", 128])
    return bytes(model.SerializeToString())


def mmod(network: Network) -> bytes:
    """dlib's cnn_face_detection_model_v1: float32 (1, 3, rows, columns) -> scores (1, 1, r, c).

    Its input is dlib's tiled pyramid, of (pixel - mean) / 256. Its metadata are the detector's
    window (columns and rows, px) and the overlap above which one of two boxes goes. Raises
    ModelError where the network is another one.
    """
    _expect(network, "loss_mmod_", MMOD)
    graph, steps = Graph(), _convolutions(network)
    x = "pyramid"
    for step in steps[:-1]:
        x = graph.node("Relu", graph.conv(x, _blocked(step)))
    for step in _columns_then_row(_blocked(steps[-1], out=1)):
        x = graph.conv(x, step)
    model = graph.model("pyramid", TensorProto.FLOAT, [1, 3, "rows", "columns"], x, [1, 1, "r", "c"])
    _, columns, rows, _, _, _, overlap, *_ = network.loss.numbers
    options = {"columns": columns, "rows": rows, "overlap": overlap}
    helper.set_model_props(model, {name: repr(value) for name, value in options.items()})
    return bytes(model.SerializeToString())


def _expect(network: Network, loss: str, kinds: tuple[str, ...]) -> None:
    if network.loss.kind != loss or tuple(layer.kind for layer in network.layers) != kinds:
        raise ModelError(f"not the {loss} network that facemean runs, but another architecture")


def _convolutions(network: Network) -> list[Conv]:
    """The convolutions in order, each with the normalisation after it folded in."""
    steps, channels = [], 3
    for layer, after in pairwise([*network.layers, network.loss]):
        if layer.kind == "con_4":
            out, side, columns, stride, *others = (int(number) for number in layer.numbers[:7])
            pad = side // 2 if stride == 1 else 0
            if columns != side or stride not in (1, 2) or others != [stride, pad, pad]:
                raise ModelError(f"a dlib network with a convolution of {layer.numbers[:7]}")
            size = out * channels * side * side
            values = _sized(layer.tensors[0], size + out)
            with np.errstate(all="ignore"):
                scale, shift = _normalisation(after, out)
            if not np.isfinite([scale, shift]).all():
                raise ModelError("a dlib network with a normalisation that is no finite number")
            weight = values[:size].reshape(out, channels, side, side)
            weight = weight * scale[:, None, None, None]
            steps.append(Conv(weight, values[size:] * scale + shift, stride, (pad,) * 4))
            channels = out
    return steps


def _normalisation(layer: Layer, channels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A scale and a shift for each channel; those of a layer of another kind change nothing."""
    if layer.kind not in ("affine_", "bn_con2"):
        return np.ones(channels), np.zeros(channels)
    scale, shift = _sized(layer.tensors[0], 2 * channels).reshape(2, channels)
    if layer.kind == "bn_con2":
        mean, variance = (_sized(tensor, channels) for tensor in layer.tensors[3:5])
        scale = scale / np.sqrt(variance + layer.numbers[-1])
        shift = shift - scale * mean
    return scale, shift


def _sized(tensor: NDArray[np.float32], size: int) -> NDArray[np.float64]:
    if tensor.size != size:
        raise ModelError(f"a dlib network with {tensor.size} weights where {size} belong")
    return tensor.astype(np.float64)


def _of_pixels(step: Conv, input_layer: Layer) -> Conv:
    """step, on pixels from 0 to 255 in place of (pixel - mean) / 256. It must have no padding."""
    weight = step.weight / PIXEL_SCALE
    mean = np.array(input_layer.numbers[:3])[:, None, None]
    bias = -(weight * mean).sum(axis=(1, 2, 3))
    return step._replace(weight=weight, bias=bias if step.bias is None else step.bias + bias)


def _shrink(graph: Graph, x: tuple[str, int], y: tuple[str, int], side: int) -> tuple[str, str]:
    """The two sides of an addition after which the image is half as large, made of one size.

    x: the block's input and its channels, pooled here; y: its last convolution and its channels;
    side: px of x. To dlib's add_prev, what the smaller of two tensors lacks at its end is zeros.
    """
    (pooled, channels), (strided, out) = x, y
    pooled = graph.node("AveragePool", pooled, kernel_shape=[2, 2], strides=[2, 2])
    if out > channels:
        pooled = graph.conv(pooled, Conv(np.eye(out, channels)[:, :, None, None]))
    if side // 2 > (side - 3) // 2 + 1:
        strided = graph.conv(strided, Conv(np.eye(out)[:, :, None, None], pads=(0, 0, 1, 1)))
    return pooled, strided


def _blocked(step: Conv, out: int = 0) -> Conv:
    """step with channels of zeros added, to whole blocks of 16: others ONNX Runtime runs unblocked.

    out: the channels to give instead, where they need not be whole blocks.
    """
    channels_out, channels = step.weight.shape[:2]
    more_out = (out or -(-channels_out // 16) * 16) - channels_out
    more = -channels % 16 if channels > 3 else 0  # the first of all reads an image as it is
    weight = np.pad(step.weight, ((0, more_out), (0, more), (0, 0), (0, 0)))
    return step._replace(weight=weight, bias=None if step.bias is None else np.pad(step.bias, (0, more_out)))


def _columns_then_row(step: Conv) -> tuple[Conv, Conv]:
    """A convolution to one channel as two, by columns and then along the row of their sums.

    ONNX Runtime computes at least 16 channels at a time: this wastes 7 of them where one wasted 15.
    """
    _, channels, rows, columns = step.weight.shape
    top, left, bottom, right = step.pads
    by_column = step.weight[0].transpose(2, 0, 1).reshape(columns, channels, rows, 1)
    row = np.eye(columns).reshape(1, columns, 1, columns)
    return Conv(by_column, pads=(top, 0, bottom, 0)), Conv(row, step.bias, pads=(0, left, 0, right))
