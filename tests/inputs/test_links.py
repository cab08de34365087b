"""Each real photo of local folders counts once, whatever links and other odd things lie among them."""

import os
import shutil
import socket
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as tried
from hypothesis import strategies as st
from test_inputs import listed, put

from spark_job import run
from spark_job.console import Console
from spark_job.errors import InputError
from spark_job.inputs.links import Links
from spark_job.inputs.roots import Root
from spark_job.inputs.walk import rank
from spark_job.spark.session import open_session

PHOTO, ARCHIVE, EMPTY, FOLDER, PIPE, SOCKET = "photo", "archive", "empty", "folder", "pipe", "socket"
LONG = "é" * 125  # with .jpg and one letter, 255 bytes
DEEP = "/".join(["level"] * 40)
# What it is, what lies in its folder ("-> ...": a link), and the rows that it gives.
ZOO = (
    ("a photo", {"a.jpg": PHOTO}, {"a.jpg": "ok"}),
    ("a link to the folder above", {"in/a.jpg": PHOTO, "in/up": "-> .."}, {"in/a.jpg": "ok"}),
    ("a folder linked into itself", {"a.jpg": PHOTO, "here": "-> ."}, {"a.jpg": "ok"}),
    (
        "two folders that lead to each other",
        {"x/1.jpg": PHOTO, "x/y": "-> ../y", "y/2.jpg": PHOTO, "y/x": "-> ../x"},
        {"x/1.jpg": "ok", "y/2.jpg": "ok"},
    ),
    ("a link to itself", {"a.jpg": "-> a.jpg"}, {"a.jpg": "unreadable"}),
    (
        "a folder linked beside itself",
        {"it/a.jpg": PHOTO, "it/in/b.jpg": PHOTO, "itself": "-> it"},
        {"it/a.jpg": "ok", "it/in/b.jpg": "ok"},
    ),
    ("a link shorter than its folder", {"folder/a.jpg": PHOTO, "link": "-> folder"}, {"link/a.jpg": "ok"}),
    ("links of one length", {"a.jpg": "-> photo.jpg", "b.jpg": "-> a.jpg", "photo.jpg": PHOTO}, {"a.jpg": "ok"}),
    ("a link to what is no photo by its name", {"a": PHOTO, "a.jpg": "-> a"}, {"a.jpg": "ok"}),
    ("links to an archive", {"a.tar": ARCHIVE, "again.tar": "-> a.tar"}, {"a.tar!/in.jpg": "ok"}),
    ("an archive as a photo", {"a.jpg": "-> a.tar", "a.tar": ARCHIVE}, {"a.jpg": "unsupported", "a.tar!/in.jpg": "ok"}),
    ("a link out of the inputs", {"out": "-> ../../outside"}, {"out/a.jpg": "ok"}),
    ("a link to a hidden folder", {".it/a.jpg": PHOTO, "it": "-> .it"}, {"it/a.jpg": "ok"}),
    (
        "links to nowhere",
        {"a.jpg": "-> gone.jpg", "b.zip": "-> gone.zip", "c.txt": "-> gone.txt", "folder": "-> gone"},
        {"a.jpg": "unreadable", "b.zip": "unreadable"},
    ),
    ("pipes", {"a.jpg": PIPE, "b.zip": PIPE, "c": PIPE}, {"a.jpg": "unsupported", "b.zip": "unsupported"}),
    ("sockets", {"a.jpg": SOCKET, "b": SOCKET}, {"a.jpg": "unsupported"}),
    (
        "links to devices",
        {"a.jpg": "-> /dev/zero", "b.tar": "-> /dev/zero", "c": "-> /dev/null"},
        {"a.jpg": "unsupported", "b.tar": "unsupported"},
    ),
    (
        "folders named as photos and archives",
        {"a.jpg/a.jpg": PHOTO, "b.zip/b.jpg": PHOTO, "c.png": FOLDER, "d.parquet/d.jpg": PHOTO},
        {"a.jpg/a.jpg": "ok", "b.zip/b.jpg": "ok", "d.parquet/d.jpg": "ok"},
    ),
    ("a link to an empty folder", {"empty": FOLDER, "link": "-> empty"}, {}),
    ("a file of no bytes", {"a.jpg": EMPTY, "b.jpg": "-> a.jpg"}, {"a.jpg": "empty"}),
    ("a name of 255 bytes", {f"{LONG}a.jpg": PHOTO}, {f"{LONG}a.jpg": "ok"}),
    ("folders of 255 bytes", {f"{LONG}12345/{LONG}12345/a.jpg": PHOTO}, {f"{LONG}12345/{LONG}12345/a.jpg": "ok"}),
    ("40 levels deep", {f"{DEEP}/a.jpg": PHOTO, f"{DEEP}/top": f"-> {'../' * 40}"}, {f"{DEEP}/a.jpg": "ok"}),
    ("a name that is no UTF-8", {"\udce9.jpg": PHOTO, "more.jpg": "-> \udce9.jpg"}, {"more.jpg": "ok"}),
    ("a folder whose name is no UTF-8", {"\udce9/a.jpg": PHOTO, "more": "-> \udce9"}, {"more/a.jpg": "ok"}),
)  # fmt: skip


def make(path: Path, what: str, photo: Path) -> None:
    """Put something of the zoo at a path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if what.startswith("-> "):
        path.symlink_to(what.removeprefix("-> "))
    elif what == PHOTO:
        shutil.copy(photo, path)
    elif what == ARCHIVE:
        with tarfile.open(path, "w") as archive:
            archive.add(photo, "in.jpg")
    elif what == EMPTY:
        path.touch()
    elif what == FOLDER:
        path.mkdir()
    elif what == PIPE:
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as listens, pytest.MonkeyPatch.context() as patch:
            patch.chdir(path.parent)  # the path of a socket is short
            listens.bind(path.name)


@pytest.fixture
def session(spark, settings):
    with open_session(settings("none"), spark) as private:
        yield private


@pytest.mark.slow
def test_every_photo_of_the_zoo_has_one_row(spark, settings, photos, tmp_path):
    photo = photos / "biden" / "biden.jpg"
    make(tmp_path / "outside" / "a.jpg", PHOTO, photo)
    for animal, holds, _ in ZOO:
        (tmp_path / "zoo" / animal).mkdir(parents=True)
        for name, what in holds.items():
            make(tmp_path / "zoo" / animal / name, what, photo)
    make(tmp_path / "zoo" / "all once more", "-> .", photo)
    result = run(settings(tmp_path / "zoo"), spark)
    expected = {
        f"file:{tmp_path}/zoo/{animal}/{name}": status for animal, _, rows in ZOO for name, status in rows.items()
    }
    rows = spark.read.parquet(f"{result.output}/photos").collect()
    assert {row.path: row.status for row in rows} == expected
    assert len(rows) == result.photos["listed"] == len(expected)
    assert run(settings(tmp_path / "zoo"), spark).mean_sha256 == result.mean_sha256


def links(*paths: Path) -> Links:
    return Links(Root(f"file:{path}", f"file:{path}", path.is_dir()) for path in paths)


def test_folders_are_listed_whole_but_those_of_which_something_is_not(tmp_path):
    for name in ("plain/in/a.jpg", "plain/b.jpg", "odd/in/c.jpg", "odd/d.jpg", "odd/e.txt"):
        put(tmp_path / name)
    (tmp_path / "plain" / "elsewhere").symlink_to(put(tmp_path.with_name("outside") / "f.jpg").parent)
    assert list(links(tmp_path).to_list()) == [f"file:{tmp_path}"]
    (tmp_path / "odd" / "up").symlink_to(tmp_path)
    whole = [f"file:{tmp_path}/{name}" for name in ("odd/d.jpg", "odd/e.txt", "odd/in", "plain")]
    assert sorted(links(tmp_path).to_list()) == whole


@pytest.mark.slow
def test_an_input_and_a_link_to_it_count_once(session, tmp_path):
    put(tmp_path / "photos" / "a.jpg")
    put(tmp_path / "photos" / "in" / "b.jpg")
    session.createDataFrame([(bytearray(b"c"),)], "content binary").write.parquet(str(tmp_path / "table"))
    for name, to in (("l", "photos"), ("one.jpg", "photos/a.jpg"), ("t", "table")):
        (tmp_path / name).symlink_to(to)
    for inputs, names, twice in (
        (("photos", "l", "photos"), {"l/a.jpg", "l/in/b.jpg"}, 2),
        (("photos", "photos", "photos/in", "photos/a.jpg"), {"photos/a.jpg", "photos/in/b.jpg"}, 0),
        (("photos/a.jpg", "one.jpg", "photos/in"), {"one.jpg", "photos/in/b.jpg"}, 1),
        (("photos", "one.jpg"), {"one.jpg", "photos/in/b.jpg"}, 1),
        ((".",), {"l/a.jpg", "l/in/b.jpg"}, 2),
    ):
        found, listing = listed(session, *(tmp_path / name for name in inputs))
        assert set(found) == {f"file:{tmp_path}/{name}" for name in names}
        assert listing.linked_twice == twice
    found, _ = listed(session, tmp_path / "table", tmp_path / "t")
    assert len(found) == 1
    assert next(iter(found)).startswith(f"file:{tmp_path}/t/part-")


def test_an_input_whose_photos_another_one_lists_is_no_mistake_and_one_without_photos_is(session, tmp_path):
    put(tmp_path / "all" / "a.jpg")
    for name, to in (("chosen/folder", "../all"), ("circle/here", "."), ("empty/folder", "../circle")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).symlink_to(to)
    assert len(listed(session, tmp_path / "all", tmp_path / "chosen")[0]) == 1
    for inputs in (("circle",), ("all", "empty", "circle")):
        with pytest.raises(InputError, match=r"circle|empty"):
            listed(session, *(tmp_path / name for name in inputs))


@pytest.mark.slow
def test_the_plan_says_how_many_photos_came_by_several_paths(spark, settings, photos, capsys):
    (photos / "again").symlink_to("biden")
    run(settings(photos), spark, Console())
    assert "photos   6 found; 2 files with several paths, by links, that count once" in capsys.readouterr().err


PLACES = ("a", "b", "a/b", "b/a", "a/b/c")
PLACED = st.dictionaries(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(("1.jpg", "22.jpg", "d", "ee"))),
    st.one_of(st.just(PHOTO), st.sampled_from((*PLACES, "a/1.jpg", "b/22.jpg", "a/b/1.jpg", "a/d", "nowhere"))),
    max_size=7,
)


def paths_below(folder: Path, through: tuple[str, ...] = ()) -> Iterator[str]:
    """All paths of photos by links and folders, with no folder more than twice on the way."""
    through += (os.path.realpath(folder),)
    if through.count(through[-1]) > 2:
        return
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from paths_below(entry, through)
        elif entry.is_file() and entry.suffix == ".jpg":
            yield str(entry)


@tried(deadline=None)
@given(PLACED, st.lists(st.sampled_from(PLACES), min_size=1, max_size=2))
def test_each_photo_is_listed_once_by_the_first_in_rank_of_all_its_paths(tmp_path_factory, placed, tops):
    root = tmp_path_factory.mktemp("any")
    for place in PLACES:
        (root / place).mkdir(parents=True, exist_ok=True)
    for (place, name), what in placed.items():
        at = root / place / name
        at.touch() if what == PHOTO else at.symlink_to(root / what)
    all_paths = defaultdict[str, set[str]](set)
    for path in chain.from_iterable(paths_below(root / top) for top in tops):
        all_paths[os.path.realpath(path)].add(path)
    found = links(*(root / top for top in tops))
    listed = [Path(path.removeprefix("file:")) for path in found.to_list()]
    photos = [
        path for at in listed for path in (paths_below(at) if at.is_dir() else [str(at)]) if path.endswith(".jpg")
    ]
    assert sorted(photos) == sorted(min(paths, key=rank) for paths in all_paths.values())
    assert found.twice() == sum(len(paths) > 1 for paths in all_paths.values())
