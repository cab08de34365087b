"""Settings: every choice of a run, validated once and passed whole."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

from spark_job.errors import SettingsError

# Counts in settings_id: raise it when a change of the code changes a row's faces.
RECIPE = 1
# The options that change a row's faces or its status; the others may change between two runs on one output.
IDENTITY = (
    "detector",
    "upsample",
    "face",
    "landmarks",
    "jitters",
    "engine",
    "detect_size",
    "max_pixels",
    "max_bytes",
)
MIN_DETECT_SIZE = 80  # px: the smallest face that dlib's detectors find
MAX_CONTENT_BYTES = 2**31 - 1 - 16  # a Spark binary value is a Java array
# Spark properties whose value is a secret, by their name.
SENSITIVE = r"(?i)((access|secret|encryption)\.key|secret|password|token)$|\baccount\.key\b"
# Kubernetes' secrets, named and not told.
BY_NAME = r"spark\.kubernetes\.(driver|executor)\.(secrets|secretKeyRef)\."
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def _option(help_: str, **metadata: Any) -> Any:
    """A field that is also an option of the command line: its help and what argparse needs."""
    default = metadata.pop("default")
    return field(default=default, metadata={"help": help_, **metadata})


def quantity(text: str) -> int:
    """A whole number with an optional unit: 64MiB, 100Mpx, 5000. Raises ValueError."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?)?(?:b|px)?", text.strip().lower())
    if match is None:
        raise ValueError(f"{text!r} is not a number such as 5000, 64MiB or 100Mpx")
    return round(float(match[1]) * UNITS[match[2] or ""])


@dataclass(frozen=True)
class Settings:
    """One run: where the photos are, where the results go, and how faces are found and encoded."""

    inputs: tuple[str, ...]
    output: str
    detector: str = _option(
        "auto is a chain: HOG, then the CNN on the photos in which HOG finds nothing",
        default="auto",
        choices=("auto", "hog", "cnn"),
    )
    upsample: int = _option(
        "how often the image is doubled before detection: 1 finds faces half as large at four times the cost",
        default=0,
        choices=(0, 1, 2),
    )
    face: str = _option(
        "which face of a photo counts: prominent weighs its size against its distance from the centre; with 'only', a "
        "photo of several has none that counts",
        default="prominent",
        choices=("prominent", "largest", "central", "first", "all", "only"),
    )
    landmarks: str = _option(
        "5 or 68 points to align a face by; 68 recognise worse, by half a percent on Labeled Faces in the Wild",
        default="small",
        choices=("small", "large"),
    )
    detect_size: int = _option(
        "the longer side, px, of the image that the auto detectors look at first; a photo in which they find nothing "
        "is looked at larger; 0 for photos as they are, as hog and cnn always do",
        default=1024,
        metavar="PX",
        parse=quantity,
    )
    jitters: int = _option("average over N distorted copies of each face", default=1, metavar="N")
    engine: str = _option(
        "onnx runs dlib's networks, with their own weights, in ONNX Runtime; face_recognition is the library as it "
        "is, the reference; openvino (bfloat16, for processors with AMX or AVX512_BF16) and cuda (never run yet, since "
        "no GPU was at hand; its values are compared with dlib's before any photo is encoded) are extras",
        default="onnx",
        choices=("onnx", "face_recognition", "openvino", "cuda"),
    )
    group_by: str = _option(
        "means per group: none, parent (the folder's name), or a regular expression "
        "with one group, searched in the photo's path",
        default="none",
        metavar="GROUP",
    )
    checksum: str | None = _option(
        "md5:... or sha256:... of an input given as an http(s) URL",
        default=None,
        metavar="ALGORITHM:HEX",
    )
    uri_column: str = _option(
        "the column of a table that says where photos are, in place of holding them",
        default="uri",
        metavar="NAME",
    )
    max_failed: float = _option("the share of failed photos above which the run exits 3", default=0.1, metavar="RATIO")
    max_pixels: int = _option("a photo of more pixels is too_large", default=100_000_000, metavar="N", parse=quantity)
    max_bytes: int = _option("a photo of more bytes is too_large", default=64 * 2**20, metavar="N", parse=quantity)
    photo_timeout: float = _option("seconds after which one photo is timed_out", default=60.0, metavar="S")
    hash_paths: bool = _option(
        "keep a keyed SHA-256 of each photo's path and group in place of them; the key is in FACEMEAN_HASH_KEY",
        default=False,
    )
    repair: bool = _option(
        "move files of the checkpoint that are damaged out of it, and encode the photos that they held once more",
        default=False,
    )
    master: str | None = _option("Spark's master URL", default=None, metavar="URL")
    conf: tuple[str, ...] = _option("a Spark property", default=(), metavar="K=V")

    def __post_init__(self) -> None:
        if not self.inputs:
            raise SettingsError("no input given: name at least one folder, archive or table")
        if not self.output:
            raise SettingsError("no output given: name a folder with --output")
        for option in options():
            choices = option.metadata.get("choices")
            value = getattr(self, option.name)
            if choices and value not in choices:
                raise SettingsError(f"{flag(option)} {value!r} is not one of {', '.join(map(str, choices))}")
        if self.jitters < 1:
            raise SettingsError(f"--jitters {self.jitters} is less than 1")
        if self.detect_size and self.detect_size < MIN_DETECT_SIZE:
            raise SettingsError(f"--detect-size {self.detect_size} is neither 0 nor {MIN_DETECT_SIZE} px or more")
        if not 0 <= self.max_failed <= 1:
            raise SettingsError(f"--max-failed {self.max_failed} is not a ratio from 0 to 1")
        if self.max_pixels < 1:
            raise SettingsError(f"--max-pixels {self.max_pixels} is less than 1")
        if not 1 <= self.max_bytes <= MAX_CONTENT_BYTES:
            raise SettingsError(f"--max-bytes {self.max_bytes} is not from 1 to 2 GiB")
        if not (self.photo_timeout > 0 and math.isfinite(self.photo_timeout)):
            raise SettingsError(f"--photo-timeout {self.photo_timeout} is not a time above 0 s")
        self._check_group_by()
        self._check_checksum()
        for pair in self.conf:
            check_property(pair)

    def _check_group_by(self) -> None:
        if self.group_by in ("none", "parent"):
            return
        try:
            groups = re.compile(self.group_by).groups
        except re.error as error:
            raise SettingsError(f"--group-by {self.group_by!r} is not a regular expression: {error}") from None
        if groups != 1:
            raise SettingsError(
                f"--group-by {self.group_by!r} has {groups} groups: it needs exactly one (...), "
                "which names a photo's group"
            )

    def _check_checksum(self) -> None:
        if self.checksum is None:
            return
        lengths = {"md5": 32, "sha256": 64}
        algorithm, _, digest = self.checksum.partition(":")
        if lengths.get(algorithm) != len(digest) or not re.fullmatch("[0-9a-fA-F]+", digest):
            raise SettingsError(f"--checksum {self.checksum!r} is neither md5: and 32 nor sha256: and 64 hex digits")
        urls = [text for text in self.inputs if is_url(text)]
        if len(urls) != 1:
            raise SettingsError(f"--checksum is for one http(s) input, and {len(urls)} of the inputs are such")

    @property
    def bounded_px(self) -> int | None:
        """The longer side, px, of the image that is looked at first; None for photos as they are."""
        return self.detect_size or None if self.detector == "auto" else None

    def identity(self) -> dict[str, Any]:
        """The choices that change a row's faces or its status."""
        return {name: getattr(self, name) for name in IDENTITY} | {"detect_size": self.bounded_px or 0}


def check_property(pair: str) -> None:
    """That K=V is a Spark property, and none that holds a secret. Raises SettingsError."""
    name = pair.partition("=")[0]  # the value is not shown: it may be a secret
    if not re.match(r"spark\.[^=\s]+=", pair):
        raise SettingsError(f"--conf {name!r} is not of the form spark.NAME=VALUE")
    if re.search(SENSITIVE, name) and not re.match(BY_NAME, name):
        raise SettingsError(
            f"--conf {name} is a secret, which any user of this machine sees on a command line: set "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or see docs/storage.md"
        )


def settings_id(settings: Settings, models: Mapping[str, str]) -> str:
    """16 hex digits that name the rows made with these settings and model digests (name -> sha256)."""
    made_with = {"recipe": RECIPE, "models": dict(models), **settings.identity()}
    text = json.dumps(made_with, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def options() -> list[Field[Any]]:
    """The fields that are options of the command line, in the order of its help."""
    return [option for option in fields(Settings) if option.default is not MISSING]


def flag(option: Field[Any]) -> str:
    """max_failed -> --max-failed"""
    return "--" + option.name.replace("_", "-")


def is_url(text: str) -> bool:
    """Whether an input is to be downloaded before Spark reads it."""
    return text.lower().startswith(("http://", "https://"))
