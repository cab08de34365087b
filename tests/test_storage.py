"""What happens to the storage under a run is told, and never changes a mean."""

import dataclasses
import os
import resource
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_job import run
from spark_job.console import Console
from spark_job.errors import InvariantError, NoFaceError, OutputError, SettingsError
from spark_job.results.documents import write_document
from spark_job.spark.hadoop import FileSystem


class Meanwhile(Console):
    """A console that does something between the listing of the photos and their reading."""

    def __init__(self, what: Callable[[], object]) -> None:
        super().__init__(quiet=True)
        self.plan = lambda *_: what()  # type: ignore[method-assign, assignment]


def statuses(spark, output):
    rows = spark.read.parquet(f"{output}/photos").where("decode_ms IS NULL").collect()
    return {Path(row.path).name: (row.status, row.message) for row in rows}


def replace(photo: Path, content: bytes) -> None:
    """Put another file of the same name in the place of a photo, as a synchronizing program does."""
    other = photo.with_name("other")
    other.write_bytes(content)
    os.utime(other, (1e9, 1e9))
    other.replace(photo)


@pytest.mark.slow
def test_photos_that_change_between_listing_and_reading_have_a_status_and_do_not_count(
    spark, settings, photos, tmp_path
):
    gone, cut, grown, replaced = (photos / "obama" / f"obama{name}" for name in (".jpg", "2.jpg", "3.jpg", "4.jpg"))
    shutil.copy(gone, replaced)
    biden = (photos / "biden" / "biden.jpg").read_bytes()

    def change():
        content = replaced.read_bytes()
        replace(replaced, biden + bytes(len(content) - len(biden)) if len(content) > len(biden) else content)
        cut.write_bytes(cut.read_bytes()[:-1000])
        grown.write_bytes(grown.read_bytes() + b"more")
        gone.unlink()

    chosen = settings(photos)
    result = run(chosen, spark, Meanwhile(change))
    assert (result.photos["listed"], result.photos["ok"], result.photos["unreadable"]) == (7, 3, 4)
    unread = statuses(spark, chosen.output)
    assert set(unread) == {path.name for path in (gone, cut, grown, replaced)}
    assert {status for status, _ in unread.values()} == {"unreadable"}
    assert all("changed or removed after it was listed" in message for _, message in unread.values())
    whole = [photos / "biden", photos / "obama" / "_obama_mirrored.PNG"]
    assert result.mean_sha256 == run(settings(*whole, output=str(tmp_path / "whole")), spark).mean_sha256

    # The next run reads them as they are now.
    again = run(chosen, spark)
    assert again.photos["listed"] == 6
    assert again.mean_sha256 == run(settings(photos, output=str(tmp_path / "anew")), spark).mean_sha256


@pytest.mark.slow
def test_inputs_that_vanish_leave_no_mean(spark, settings, photos, tmp_path):
    with tarfile.open(tmp_path / "photos.tar", "w") as archive:
        archive.add(photos / "biden", "biden")
    table = tmp_path / "table.parquet"
    spark.read.format("binaryFile").load(str(photos / "biden" / "biden.jpg")).drop("path").write.parquet(str(table))
    chosen = settings(photos, tmp_path / "photos.tar", table)

    def vanish():
        shutil.rmtree(photos)
        shutil.rmtree(table)
        (tmp_path / "photos.tar").unlink()

    with pytest.raises(NoFaceError, match=r"9 photos \(7 unreadable, 2 truncated\)"):
        run(chosen, spark, Meanwhile(vanish))
    assert not Path(chosen.output, "mean.json").exists()


@pytest.mark.slow
def test_an_archive_that_is_cut_short_under_the_run_costs_what_it_lost(spark, settings, photos, tmp_path):
    archive = tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as file:
        file.add(photos / "biden", "biden")
    result = run(settings(photos / "obama", archive), spark, Meanwhile(lambda: os.truncate(archive, 2000)))
    assert (result.photos["ok"], result.photos["truncated"]) == (4, 2)


@pytest.mark.slow
def test_a_photo_that_got_no_row_fails_the_run_and_is_named(spark, settings, photos, monkeypatch):
    """Where the account of what was not read fails, too, there is still no figure without it."""
    monkeypatch.setattr("spark_job.pipeline.account_for_unread", lambda *_: None)
    chosen = settings(photos)
    with pytest.raises(InvariantError, match=r"1 of 6 listed photos have no row.*biden/biden\.jpg"):
        run(chosen, spark, Meanwhile((photos / "biden" / "biden.jpg").unlink))
    assert not Path(chosen.output, "mean.json").exists()


@pytest.mark.slow
def test_a_disk_that_takes_no_more_stops_the_run_and_the_same_command_goes_on(
    spark, settings, face_photos, undisturbed
):
    """The limit of a file's length stands for a disk's size: any user may set it, of a process of his own."""
    java = spark.sparkContext._gateway.proc.pid
    limit = resource.prlimit(java, resource.RLIMIT_FSIZE)
    chosen = settings(face_photos)
    try:
        fill = Meanwhile(lambda: resource.prlimit(java, resource.RLIMIT_FSIZE, (4096, limit[1])))
        with pytest.raises(OutputError, match=r"cannot be encoded into .*/photos: .*File too large"):
            run(chosen, spark, fill)
    finally:
        resource.prlimit(java, resource.RLIMIT_FSIZE, limit)
    assert not Path(chosen.output, "mean.json").exists()
    assert run(chosen, spark).mean_sha256 == undisturbed.mean_sha256


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("to mount a small disk takes root: the test above stands for it")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_same_command_goes_on(spark, settings, face_photos, disk, undisturbed):
    chosen = settings(face_photos, output=str(disk / "out"))
    filler = disk / "filler"
    filler.write_bytes(bytes(2**20 - 5 * 4096))
    with pytest.raises(OutputError, match=r"cannot be encoded into .*/photos: .*No space left on device"):
        run(chosen, spark)
    assert not Path(chosen.output, "mean.json").exists()

    filler.unlink()
    assert run(chosen, spark).mean_sha256 == undisturbed.mean_sha256
    (disk / "out" / "mean.npy").unlink()
    left = os.statvfs(disk).f_bavail
    filler.write_bytes(bytes(left * 4096))
    (disk / "out" / "mean.json").rename(disk / "out" / "old.json")
    with pytest.raises(OutputError, match=r"out/run\.json cannot be written: No space left on device"):
        run(chosen, spark)
    with pytest.raises(OutputError, match=r"out/listing cannot be written: No space left on device"):
        run(dataclasses.replace(chosen, max_failed=0.5), spark)  # for which the earlier results do not stand
    with pytest.raises(OutputError, match=r"out/mean\.json cannot be written: No space left on device"):
        write_document(FileSystem(spark, chosen.output), "mean.json", {"count": 6})
    assert not Path(chosen.output, "mean.json").exists()
    filler.unlink()
    assert run(chosen, spark).mean_sha256 == undisturbed.mean_sha256


@pytest.mark.parametrize(
    ("held", "why"),
    [("nothing", "may this user write there"), ("a run", r"\((Read-only file system|Permission denied)\)")],
)
def test_an_output_that_may_not_be_written_to_is_told_before_a_photo_is_read(
    spark, settings, face_photos, undisturbed, tmp_path, request, held, why
):
    folder = tmp_path if os.geteuid() else request.getfixturevalue("disk")
    chosen = settings(face_photos, output=str(folder / "out"))
    if held == "a run":
        shutil.copytree(undisturbed.output.removeprefix("file:"), chosen.output)
    if os.geteuid():
        for path in (folder, folder / "out"):
            if path.exists():
                path.chmod(0o555)
    else:  # root may write whatever the permissions say, but not to a disk that is mounted so
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    with pytest.raises(SettingsError, match=f"cannot be written to: .*{why}"):
        run(chosen, spark)


def test_an_output_that_can_no_longer_be_written_to_is_told(spark, settings, face_photos):
    chosen = settings(face_photos)
    with pytest.raises(OutputError, match=r"cannot be encoded into .*/photos: .*(not a directory|Mkdirs failed)"):
        run(chosen, spark, Meanwhile(lambda: Path(chosen.output, "photos").write_text("no folder")))
    assert not Path(chosen.output, "mean.json").exists()


@pytest.mark.slow
def test_a_file_of_the_checkpoint_that_a_crash_left_without_bytes_is_made_anew(spark, done, undisturbed):
    part = next(Path(done.output, "photos").glob("part-*.parquet"))
    part.write_bytes(b"")
    again = run(done, spark)
    assert again.encoded > 0
    assert again.mean_sha256 == undisturbed.mean_sha256
