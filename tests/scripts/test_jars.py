"""The jars of a list are fetched once, by their sha256; the list of s3a:// fits the Spark that is installed."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from helpers import SPARK

SETTINGS = """<ivysettings><settings defaultResolver="here"/><caches defaultCacheDir="{0}/cache"/>
<resolvers><ibiblio name="here" m2compatible="true" root="{1}"/></resolvers></ivysettings>"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder laid out as Maven Central is, with one jar in it, and Ivy's settings to read from there."""
    folder = tmp_path / "repository" / "org" / "example" / "thing" / "1.0"
    folder.mkdir(parents=True)
    (folder / "thing-1.0-all.jar").write_bytes(b"a jar")
    (folder / "thing-1.0.pom").write_text(
        "<project><modelVersion>4.0.0</modelVersion><groupId>org.example</groupId><artifactId>thing</artifactId>"
        "<version>1.0</version></project>"
    )
    (tmp_path / "settings.xml").write_text(SETTINGS.format(tmp_path, (tmp_path / "repository").as_uri()))
    return tmp_path


def jars(repository: Path, content: bytes, **environment: str) -> subprocess.CompletedProcess[str]:
    """What scripts/jars says of a list of that jar with such a content, and of a folder of the test's."""
    sha256 = hashlib.sha256(content).hexdigest()
    (repository / "list").write_text(f"# one jar\n{sha256}  org.example:thing:1.0:all\n")
    environment = {"SPARK_HOME": str(SPARK), "IVY_SETTINGS": str(repository / "settings.xml"), **environment}
    command = ["scripts/jars", repository / "list", repository / "jars"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True)


def test_a_jar_is_fetched_once_and_an_altered_one_again(repository):
    assert jars(repository, b"a jar").returncode == 0
    fetched = repository / "jars" / "thing-1.0-all.jar"
    assert fetched.read_bytes() == b"a jar"
    assert jars(repository, b"a jar", JAVA_HOME="/nowhere").returncode == 0
    fetched.write_bytes(b"altered")
    assert jars(repository, b"a jar").returncode == 0
    assert fetched.read_bytes() == b"a jar"


def test_a_jar_with_another_sha256_is_named_and_not_kept(repository):
    done = jars(repository, b"another jar")
    assert done.returncode == 1
    assert re.search(r"jars: what was fetched is not what .*list says: thing-1\.0-all\.jar", done.stderr)
    assert not (repository / "jars").exists()


def test_the_connector_is_of_the_hadoop_inside_spark_and_the_sdk_of_one_version():
    listed = re.findall(r"^[0-9a-f]{64}  ([\w.-]+):([\w.-]+):([\w.-]+)$", (ROOT / "conf/s3-jars.txt").read_text(), re.M)
    versions = {name: version for _, name, version in listed}
    assert (SPARK / "jars" / f"hadoop-client-api-{versions['hadoop-aws']}.jar").exists()
    assert len({version for group, _, version in listed if group == "software.amazon.awssdk"}) == 1
