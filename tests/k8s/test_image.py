"""k8s/Dockerfile: what a reviewer looks for, and its install steps, executed. No container engine is needed."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest
from conftest import ROOT
from helpers import fetched, program

DOCKERFILE = ROOT / "k8s" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Instruction and its text, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not re.match(r"\s*#|\s*$", line)]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()
    return [(word, text) for word, _, text in (line.partition(" ") for line in whole)]


def stages() -> list[list[tuple[str, str]]]:
    """The instructions of each stage, its FROM first."""
    found: list[list[tuple[str, str]]] = []
    for word, text in instructions():
        if word == "FROM":
            found.append([])
        if found:
            found[-1].append((word, text))
    return found


def texts(stage: list[tuple[str, str]], word: str) -> list[str]:
    return [text for name, text in stage if name == word]


def test_hadolint_finds_nothing():
    done = subprocess.run([program("hadolint"), DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_image_that_it_builds_on_has_a_version():
    default = dict(text.split("=", 1) for text in texts(instructions(), "ARG") if "=" in text)
    (version,) = re.findall(r"^pyspark==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert default["SPARK_IMAGE"].startswith(f"apache/spark:{version}-")
    for stage in stages():
        image = stage[0][1].split()[0].replace("${SPARK_IMAGE}", default["SPARK_IMAGE"])
        assert re.search(r":\d+\.\d+", image), image


def test_the_image_runs_as_spark_and_has_no_compiler_and_no_pip():
    last = stages()[-1]
    assert last[0][1] == "${SPARK_IMAGE}"
    assert last[-1] == ("USER", "185")
    assert any("purge" in text and "python3-pip" in text and "command -v cc gcc" in text for text in texts(last, "RUN"))
    assert not any("pip install" in text or "apt-get install" in text for text in texts(last, "RUN"))
    assert not texts(last, "ENTRYPOINT")  # Spark's own: driver, executor, or a program


def test_what_comes_from_outside_is_checked_by_its_digest():
    text = DOCKERFILE.read_text()
    assert not texts(instructions(), "ADD")
    assert not re.search(r"curl|wget|https?://", text)
    for install in re.findall(r"pip[^&|]* install [^&|]*", " ".join(texts(instructions(), "RUN"))):
        assert "--require-hashes" in install or install.split()[-1] == "/tmp/facemean", install  # noqa: S108
    (uv,) = re.findall(r"uv==(\S+) --hash=sha256:([0-9a-f]{64})", text)
    assert uv


def test_the_image_says_what_it_was_built_from():
    labels = " ".join(texts(stages()[-1], "LABEL"))
    for name, value in {"revision": "COMMIT", "version": "VERSION", "base.name": "SPARK_IMAGE"}.items():
        assert f'org.opencontainers.image.{name}="${{{value}}}"' in labels


def test_only_what_is_copied_is_sent_to_the_build():
    ignored, *kept = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ignored == "*"
    copied = {
        source
        for text in texts(instructions(), "COPY")
        if not text.startswith("--from")
        for source in text.split()[:-1]
    }
    assert {line.removeprefix("!") for line in kept if line.startswith("!")} - {"scripts/jars", "conf"} == copied - {
        "scripts/jars",
        "conf",
        "conf/s3-jars.txt",
    }
    assert all((ROOT / source).exists() for source in copied)


@pytest.fixture
def checkout(tmp_path):
    """A git checkout with one commit, and an engine that notes how it is called."""
    for name in ("scripts/build-image", "setup.cfg", "k8s/Dockerfile"):
        (tmp_path / "checkout" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / "checkout" / name)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "one"]):
        subprocess.run([*git, *command], cwd=tmp_path / "checkout", check=True)
    (tmp_path / "engine").write_text(
        f'#!{sys.executable}\nimport json, sys\nif sys.argv[1] == "build":\n'
        f'    json.dump(sys.argv[1:], open("{tmp_path}/called", "w"))\n'
    )
    (tmp_path / "engine").chmod(0o755)
    return tmp_path / "checkout"


def build_image(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ENGINE": str(checkout.parent / "engine"), **variables}
    command = [checkout / "scripts" / "build-image", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_the_tag_is_the_commit(checkout):
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    done = build_image(checkout, "registry.example/team", "--build-arg", "SPARK_IMAGE=mine:1")
    assert done.stdout == f"registry.example/team/facemean:{commit[:12]}\n"
    called = json.loads((checkout.parent / "called").read_text())
    assert {f"COMMIT={commit}", "SPARK_IMAGE=mine:1", done.stdout.strip()} <= set(called)
    assert called[-1] == "."
    assert build_image(checkout).stdout == f"facemean:{commit[:12]}\n"


def test_changes_without_a_commit_have_no_tag_of_one(checkout):
    (checkout / "setup.cfg").write_text("")
    done = build_image(checkout)
    assert done.returncode == 1
    assert "not committed" in done.stderr
    assert "ALLOW_DIRTY=1" in done.stderr
    assert build_image(checkout, ALLOW_DIRTY="1").stdout.endswith("-dirty\n")


def test_without_an_engine_it_says_how_to_get_one(checkout):
    done = build_image(checkout, ENGINE="no-such-engine")
    assert done.returncode == 1
    assert "apt-get install -y podman" in done.stderr


def execute(stage: list[tuple[str, str]], root: Path, **variables: str) -> dict[str, str]:
    """The ENV, COPY and RUN of a stage, with its /opt and /tmp in root; returns its environment.

    One step is left out, the download of uv's Python: the Python of this test stands in for it.
    """

    def moved(text: str) -> str:
        return re.sub(r"(?<![\w.])/(opt|tmp)/", rf"{root}/\1/", text)

    (root / "tmp").mkdir()
    kept = ("PIP_", "SSL_", "HOME", "LANG", "IVY_", "JAVA_HOME")
    environment = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    for word, text in stage:
        if word == "ENV":
            told = dict(pair.split("=") for pair in text.split() if not pair.startswith("PIP_NO_CACHE_DIR"))
            environment |= {name: moved(value) for name, value in told.items()} | variables
        elif word == "COPY":
            *sources, target = text.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, moved(target))
                else:
                    Path(moved(target)).mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, moved(target))
        elif word == "RUN" and not text.startswith("uv python install"):
            command = ["/bin/sh", "-c", moved(text)]
            done = subprocess.run(command, env=environment | variables, capture_output=True, text=True)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return environment | variables


@pytest.fixture
def root(tmp_path) -> Path:
    """A folder with what the Spark image has in /opt."""
    (tmp_path / "opt/spark/python").mkdir(parents=True)
    (tmp_path / "opt/spark/python/pyspark").symlink_to(Path(pyspark.__file__).parent)
    (tmp_path / "opt/spark/jars").symlink_to(Path(pyspark.__file__).parent / "jars")
    return tmp_path


def stage(name: str) -> list[tuple[str, str]]:
    return next(found for found in stages() if found[0][1].endswith(f" AS {name}"))


@pytest.mark.slow
def test_the_install_steps_make_a_python_that_runs_facemean_without_a_compiler(root):
    subprocess.run([sys.executable, "-m", "venv", root / "tools"], check=True)
    environment = execute(
        stage("install"),
        root,
        PATH=f"{root}/tools/bin:/usr/bin:/bin",
        CC="/bin/false",
        CXX="/bin/false",
        UV_PYTHON=sys.executable,
        UV_PYTHON_PREFERENCE="only-system",
    )
    prefix = root / "opt/facemean"
    assert sorted(path.name.split("-")[0] for path in (prefix / "models").iterdir()) == ["cnn", "hog", "resnet"]
    assert "--detector" in subprocess.check_output([prefix / "bin/facemean", "run", "--help"], env={}, text=True)
    lock = re.findall(r"^([a-z][\w.-]*)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    listing = ["pip", "--python", prefix / "bin/python", "list", "--format", "json"]
    listed = json.loads(subprocess.check_output(listing, env=environment))
    installed = {(re.sub(r"[_.]", "-", package["name"].lower()), package["version"]) for package in listed}
    assert {name for name, _ in installed - set(lock)} == {"facemean"}
    # PySpark is the image's own, and dlib is there under the name dlib-bin.
    assert {name for name, _ in lock} - {name for name, _ in installed} == {"pyspark", "dlib"}
    # The file given to spark-submit, run as it runs it.
    command = [prefix / "bin/python", prefix / "spark_job/__main__.py", "run"]
    program = subprocess.run(command, env={}, capture_output=True, text=True)
    assert program.returncode == 2
    assert "the following arguments are required" in program.stderr


@pytest.mark.slow
def test_the_connector_for_s3a_is_that_of_its_list(root):
    fetched("conf/s3-jars.txt", root / "tried")
    execute(stage("jars"), root, PATH=os.environ["PATH"])
    assert any(jar.name.startswith("hadoop-aws-") for jar in (root / "opt/jars").iterdir())
