"""Settings are checked once, and say what is wrong with which option."""

import dataclasses

import pytest

from spark_job.errors import SettingsError
from spark_job.settings import IDENTITY, Settings, options, quantity, settings_id

MODELS = {"small": "a" * 64, "resnet": "b" * 64}
BASE = Settings(inputs=("photos",), output="out")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"inputs": ()}, "no input"),
        ({"output": ""}, "no output"),
        ({"detector": "yolo"}, "--detector 'yolo' is not one of auto, hog, cnn"),
        ({"upsample": 3}, "--upsample 3"),
        ({"jitters": 0}, "--jitters 0"),
        ({"max_failed": 1.5}, "--max-failed 1.5"),
        ({"max_pixels": 0}, "--max-pixels 0"),
        ({"max_bytes": 2**31}, "--max-bytes"),
        ({"photo_timeout": 0.0}, "--photo-timeout"),
        ({"photo_timeout": float("nan")}, "--photo-timeout"),
        ({"group_by": "("}, "not a regular expression"),
        ({"group_by": "(a)(b)"}, "has 2 groups"),
        ({"group_by": "person"}, "has 0 groups"),
        ({"checksum": "md5:123"}, "--checksum"),
        ({"checksum": "md5:" + "a" * 32}, "one http"),
        ({"conf": ("spark.ui.port",)}, "--conf"),
    ],
)
def test_a_wrong_choice_is_refused_by_its_name(wrong, named):
    with pytest.raises(SettingsError, match=named.replace("(", r"\(")):
        dataclasses.replace(BASE, **wrong)


@pytest.mark.parametrize(
    "name",
    [
        "hadoop.fs.s3a.secret.key",
        "hadoop.fs.s3a.bucket.photos.access.key",
        "hadoop.fs.s3a.session.token",
        "hadoop.fs.azure.account.key.me.dfs.core.windows.net",
        "authenticate.secret",
        "ssl.keyPassword",
    ],
)
def test_a_property_that_is_a_secret_is_refused_and_its_value_not_shown(name):
    with pytest.raises(SettingsError, match=name) as refused:
        dataclasses.replace(BASE, conf=(f"spark.{name}=hush",))
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    "name",
    [
        "hadoop.fs.s3a.aws.credentials.provider",
        "hadoop.hadoop.security.credential.provider.path",
        "kubernetes.driver.secrets.keys",
        "kubernetes.executor.secretKeyRef.AWS_SECRET_ACCESS_KEY",
        "kubernetes.authenticate.oauthTokenFile",
    ],
)
def test_a_property_that_says_where_a_secret_is_is_taken(name):
    assert dataclasses.replace(BASE, conf=(f"spark.{name}=a",)).conf


def test_settings_id_changes_with_every_choice_that_changes_a_row():
    another_engine = "onnx" if BASE.engine == "face_recognition" else "face_recognition"
    other = {
        "detector": "hog", "upsample": 1, "face": "all", "landmarks": "large", "jitters": 2,
        "detect_size": 0, "engine": another_engine, "max_pixels": 5, "max_bytes": 5,
    }  # fmt: skip
    assert set(other) == set(IDENTITY)
    changed = [dataclasses.replace(BASE, **{name: value}) for name, value in other.items()]
    ids = {settings_id(settings, MODELS) for settings in (BASE, *changed)}
    assert len(ids) == 1 + len(other)
    assert settings_id(BASE, MODELS | {"resnet": "c" * 64}) not in ids


def test_settings_id_stays_where_a_choice_changes_no_row():
    for same in ({"group_by": "parent"}, {"max_failed": 1.0}, {"inputs": ("b",)}, {"master": "local[1]"}):
        assert settings_id(dataclasses.replace(BASE, **same), MODELS) == settings_id(BASE, MODELS)


def test_every_option_of_the_contract_is_there():
    assert {option.name for option in options()} == {
        "detector", "upsample", "face", "landmarks", "detect_size", "jitters", "engine", "group_by", "checksum",
        "uri_column", "max_failed", "max_pixels", "max_bytes", "photo_timeout", "hash_paths", "repair",
        "master", "conf",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "number"), [("5000", 5000), ("64MiB", 64 * 2**20), ("100Mpx", 10**8), ("1.5 k", 1500), ("2g", 2 * 10**9)]
)
def test_quantities_have_units(text, number):
    assert quantity(text) == number


@pytest.mark.parametrize("text", ["", "many", "-1", "1 TiB", "nan"])
def test_what_is_no_quantity_is_refused(text):
    with pytest.raises(ValueError, match="not a number"):
        quantity(text)
