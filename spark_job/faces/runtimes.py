"""Runtimes: what can run dlib's embedding network, and how far from dlib's values each may be.

A runtime is a function of at most BATCH chips, uint8 (n, 150, 150, 3) RGB, to float32 (n, 128).
"""

import importlib.util
import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_job.errors import ModelError, PreflightError
from spark_job.faces.models import onnx_model, session
from spark_job.faces.processor import BFLOAT16, flags

BATCH = 16  # faces in one call, for some 25 MB; more gain nothing

Network = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Runtime(NamedTuple):
    """make: loads the network in a worker, on this GPU where it uses one; tolerance: of a value, against dlib's."""

    make: Callable[[int], Network]
    tolerance: float


def onnx(_gpu: int) -> Network:
    """ONNX Runtime on one core, float32."""
    network = session("resnet")
    return lambda chips: network.run(None, {"chips": chips})[0]


def openvino(_gpu: int) -> Network:
    """OpenVINO on one core, bfloat16. Raises ModelError on a processor that has none: it would be float32 unasked."""
    # With this package, each import of OpenVINO forks a process that reports it to its maker, and its own way out is a
    # file in the user's home. None is how Python says that a module is not there; OpenVINO then has an empty one.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino as ov

    if not flags() & set(BFLOAT16):
        raise ModelError(
            "--engine openvino computes in bfloat16, and this processor has neither AMX nor AVX512_BF16: "
            "use --engine onnx, or executors that have"
        )

    options = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    network = ov.Core().compile_model(onnx_model("resnet"), "CPU", options)
    return lambda chips: np.array(network([chips])[0], dtype=np.float32)


def cuda(gpu: int) -> Network:
    """ONNX Runtime on one GPU, by its number; float32."""
    # TF32 would cost three digits. A fixed shape and no timing of kernels: a face's bits depend on neither.
    options = {
        "device_id": gpu,
        "use_tf32": 0,
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    network = session("resnet", [("CUDAExecutionProvider", options)])

    def run(chips: NDArray[np.uint8]) -> NDArray[np.float32]:
        padded = np.zeros((BATCH, *chips.shape[1:]), dtype=np.uint8)
        padded[: len(chips)] = chips
        vectors: NDArray[np.float32] = network.run(None, {"chips": padded})[0]
        return vectors[: len(chips)]

    return run


# bfloat16 has 8 bits of mantissa: 4.5e-3 is the largest difference seen, on 2,000 faces.
RUNTIMES = {"onnx": Runtime(onnx, 1e-5), "cuda": Runtime(cuda, 1e-5), "openvino": Runtime(openvino, 1e-2)}


def check_installed(engine: str) -> None:
    """Raise PreflightError where an engine's optional library is not installed."""
    if engine == "openvino" and importlib.util.find_spec("openvino") is None:
        raise PreflightError("--engine openvino needs OpenVINO: pip install 'facemean[openvino]'")
    if engine == "cuda":
        import onnxruntime

        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise PreflightError(
                "--engine cuda needs ONNX Runtime with CUDA: pip uninstall onnxruntime; pip install 'facemean[cuda]'"
            )
