"""Engine: the models of a run, loaded once in each Python worker and never pickled."""

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import dlib

from spark_job.errors import ModelError
from spark_job.faces import detect
from spark_job.faces.align import Aligner, aligner
from spark_job.faces.detect import Detector, Finder
from spark_job.faces.embed import Embedder, dlib_embedder, network_embedder
from spark_job.faces.hog import compiled_hog
from spark_job.faces.mmod import onnx_cnn_detector
from spark_job.faces.models import model_path
from spark_job.settings import Settings


class Engine(NamedTuple):
    """detect: image -> detections; align: image, box -> landmarks, chip; embed: chips -> embeddings."""

    detect: Detector
    align: Aligner
    embed: Embedder


def model_names(settings: Settings) -> list[str]:
    """The models that the figures of a run depend on."""
    return [settings.landmarks, "resnet", *([] if settings.detector == "hog" else ["cnn"])]


def load(settings: Settings, gpu: int = 0) -> Engine:
    """The engine of these settings, on this GPU where it uses one. Raises ModelError.

    It is the one state of a worker, which keeps it from run to run where a session has several.
    """
    return _loaded(Settings(inputs=("any",), output="any", **settings.identity()), gpu)


@functools.lru_cache(maxsize=1)
def _loaded(settings: Settings, gpu: int) -> Engine:
    return _face_recognition(settings) if settings.engine == "face_recognition" else _networks(settings, gpu)


def why_slow(settings: Settings) -> str | None:
    """Why dlib itself would run its HOG detector here, with the same results; None where it would not.

    The code is compiled, where that was not done before.
    """
    if settings.engine == "face_recognition" or "hog" not in _detectors(settings):
        return None
    try:
        compiled_hog()
    except ModelError as error:
        return f"the HOG detector runs in dlib, in twice the time: {error}"
    return None


def _networks(settings: Settings, gpu: int) -> Engine:
    """dlib's HOG detector in code of ours, its networks in another runtime, its landmarks."""
    finders: dict[str, Callable[[], Finder]] = {"hog": _hog, "cnn": onnx_cnn_detector}
    detectors = [detect.detector(name, finders[name](), settings.upsample) for name in _detectors(settings)]
    return Engine(
        detect=_chain(settings, detectors),
        align=aligner(dlib.shape_predictor(str(model_path(settings.landmarks)))),
        embed=network_embedder(settings.engine, settings.jitters, gpu),
    )


def _hog() -> Finder:
    try:
        return compiled_hog()
    except ModelError:  # why_slow tells
        return detect.dlib_hog(dlib.get_frontal_face_detector())


def _face_recognition(settings: Settings) -> Engine:
    """The library's own objects: the reference."""
    library: Any = face_recognition_api()
    detectors = {
        "hog": detect.detector("hog", detect.dlib_hog(library.face_detector), settings.upsample),
        "cnn": detect.detector("cnn", detect.dlib_cnn(library.cnn_face_detector), settings.upsample),
    }
    predictors = {"small": library.pose_predictor_5_point, "large": library.pose_predictor_68_point}
    return Engine(
        detect=_chain(settings, [detectors[name] for name in _detectors(settings)]),
        align=aligner(predictors[settings.landmarks]),
        embed=dlib_embedder(settings.jitters),
    )


def _detectors(settings: Settings) -> tuple[str, ...]:
    return ("hog", "cnn") if settings.detector == "auto" else (settings.detector,)


def _chain(settings: Settings, detectors: list[Detector]) -> Detector:
    whole = detect.chain(detectors)
    return detect.bounded(whole, settings.bounded_px) if settings.bounded_px else whole


def face_recognition_api() -> ModuleType:
    """face_recognition.api, imported without the package that it takes its models from.

    That one imports pkg_resources, which setuptools 82 removed, and face_recognition then ends the process. A
    module of the same four functions stands in for it.
    """
    functions = {
        "pose_predictor_model_location": str(model_path("large")),
        "pose_predictor_five_point_model_location": str(model_path("small")),
        "cnn_face_detector_model_location": str(model_path("cnn")),
        "face_recognition_model_location": str(model_path("resnet")),
    }
    stand_in = ModuleType("face_recognition_models")
    for name, path in functions.items():
        setattr(stand_in, name, functools.partial(str, path))
    sys.modules[stand_in.__name__] = stand_in
    try:
        return importlib.import_module("face_recognition.api")
    finally:
        del sys.modules[stand_in.__name__]
