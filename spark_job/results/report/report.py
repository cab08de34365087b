"""Report: facemean report: OUTPUT -> OUTPUT/report.html."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from spark_job.errors import SettingsError
from spark_job.inputs.again import Key
from spark_job.results.documents import REPORT
from spark_job.results.output import Output, local_folder, reading
from spark_job.results.report.figures import Figures, figures
from spark_job.results.report.page import page
from spark_job.results.report.pictures import WHOLE, Cut, Face, Pictures, pictures
from spark_job.settings import Settings, options

FACES_OF_A_GROUP = 40  # in the picture of its mean


@dataclass(frozen=True)
class Report:
    """page: the URI of what was written; of its pictures' photos, how many were read, were gone or another by now, and
    lie in archives beyond those that are opened."""

    page: str
    bytes: int
    photos_read: int
    photos_gone: int
    photos_unopened: int

    @property
    def says(self) -> str:
        """A line for a person."""
        told = [f"{self.bytes / 1e6:.1f} MB" if self.bytes >= 1e6 else f"{self.bytes // 1000} kB"]
        for count, what in (
            (self.photos_read, "photos read for its pictures"),
            (self.photos_gone, "gone or changed since"),
            (self.photos_unopened, "in archives that were not opened"),
        ):
            told += [f"{count:,} {what}"] if count else []
        return f"report: open {self.page} in a browser ({', '.join(told)})"


def report(
    uri: str,
    faces: bool = True,
    sample: int = 2000,
    seed: int = 0,
    master: str | None = None,
    conf: tuple[str, ...] = (),
) -> Report:
    """Write OUTPUT/report.html, whole or not at all.

    faces: with pictures of people, unless names are hashed; sample: of how many photos the mean face is; seed: chooses
    them; master, conf: Spark's. Raises OutputError, SettingsError; InputError where the storage of the photos does not
    answer.
    """
    if sample < 1:
        raise SettingsError(f"--sample {sample} is less than 1")
    with reading(uri, master, conf) as output:
        found = figures(output, seed)
        shown = Pictures()
        if faces and not found.is_hashed:
            shown = _pictures(output, found, sample, settings_of(found.run, uri, master, conf))
        content = page(uri, found, shown, faces and not found.is_hashed, seed).encode()
        output.write(REPORT, content)
    folder = local_folder(uri)
    page_uri = f"{uri.rstrip('/')}/{REPORT}" if folder is None else (folder.absolute() / REPORT).as_uri()
    return Report(page_uri, len(content), shown.read, shown.gone, shown.unopened)


def settings_of(run: dict[str, Any], output: str, master: str | None, conf: tuple[str, ...]) -> Settings:
    """The settings of a run, from run.json."""
    told = {option.name: run["settings"][option.name] for option in options() if option.name in run["settings"]}
    return Settings(inputs=tuple(run["inputs"]), output=output, **told | {"master": master, "conf": conf})


def _pictures(output: Output, found: Figures, sample: int, settings: Settings) -> Pictures:
    """The pictures of the report: those shown by themselves, and the mean faces."""
    averaged: dict[str | Face | None, list[str]] = {None: found.sampled[:sample]}
    averaged |= {group: paths[:FACES_OF_A_GROUP] for group, paths in found.members.items()}
    for suspect in found.suspects or ():  # the rest of its group
        others = [path for path in found.members[suspect.group] if path != suspect.path]
        averaged[Face(suspect.path, suspect.face)] = others[:FACES_OF_A_GROUP]
    shown = [Face(suspect.path, suspect.face) for suspect in found.suspects or ()]
    shown += [Face(group.medoid, 0) for group in found.largest]
    shown += [Face(photo.path, WHOLE) for photo in (*found.failed, *found.without_face)]
    # What is shown by itself comes first, where not all can be had.
    paths = list(dict.fromkeys([face.path for face in shown] + [path for some in averaged.values() for path in some]))
    rows = output.current("faces", "width", "height", paths=paths)
    photos = _cuts(rows, {face.path for face in shown if face.face == WHOLE}, paths)
    faces = {key.path: [Face(key.path, cut.face) for cut in cuts if cut.face != WHOLE] for key, cuts in photos.items()}
    means = {name: [face for path in some for face in faces.get(path, ())] for name, some in averaged.items()}
    return pictures(photos, shown, means, settings)


def _cuts(rows: pa.Table, whole: set[str], order: Iterable[str]) -> dict[Key, list[Cut]]:
    """What to cut from each photo, by its row: its faces, or the whole of it."""
    place = {path: i for i, path in enumerate(order)}
    modified = rows["modificationTime"].cast(pa.int64()).to_pylist()
    narrow = rows.select(["path", "length", "width", "height"]).append_column("landmarks", _landmarks(rows)).to_pylist()
    found: dict[Key, list[Cut]] = {}
    for row, modified_us in sorted(zip(narrow, modified, strict=True), key=lambda pair: place[pair[0]["path"]]):
        size = (row["width"] or 0, row["height"] or 0)
        cuts = [Cut(WHOLE, size, 0, [])] if row["path"] in whole else []
        for i, face in enumerate(row["landmarks"] or ()):
            points = [(point["x"], point["y"]) for point in face["landmarks"]]
            cuts.append(Cut(i, size, face["bottom"] - face["top"], points))
        found[Key(row["path"], row["length"], modified_us)] = cuts
    return found


def _landmarks(rows: pa.Table) -> pa.ChunkedArray:
    """The faces of rows without their embeddings."""
    faces = rows["faces"].combine_chunks()
    kept = {name: pc.struct_field(faces.values, name) for name in ("top", "bottom", "landmarks")}
    values = pa.StructArray.from_arrays(list(kept.values()), list(kept))
    return pa.chunked_array([pa.ListArray.from_arrays(faces.offsets, values, mask=faces.is_null())])
