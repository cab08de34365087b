"""Sources: folders, globs, archives, tables and lists -> DataFrames of photos, opened but not read."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from spark_job.errors import InputError
from spark_job.inputs.files import open_files, open_unlisted, without_links
from spark_job.inputs.kinds import ADDRESS
from spark_job.inputs.links import Links, read_as
from spark_job.inputs.lists import is_list, open_list
from spark_job.inputs.looks import Looks, look_through_all
from spark_job.inputs.names import named
from spark_job.inputs.roots import Root, lies_in, resolve, without_nested
from spark_job.inputs.tables import is_table, open_table
from spark_job.settings import Settings
from spark_job.spark.hadoop import reason


@dataclass(frozen=True)
class Sources:
    """The inputs by kind (file, archive, table, address), as DataFrames that are opened but not read.

    Columns: path, length, modificationTime, group; content, but of addresses; source, the URI of the file that holds
    or names the photo; is_photo.
    roots: what each input stands for; links: where local ones lead; looks: what stands in the archives, and which of
    them are not opened.
    """

    kinds: dict[str, DataFrame]
    roots: dict[str, list[Root]]
    links: Links
    looks: Looks
    settings: Settings

    def listing(self) -> DataFrame:
        """All that the inputs hold, and its kind, without content: of files, Spark reads no byte for it.

        What stands in archives is what looks have found there; where these are odd, what Spark finds.
        """
        kinds = {kind: part.drop("content") for kind, part in self.kinds.items() if kind != "archive"}
        parts = [part.withColumn("kind", F.lit(kind)) for kind, part in kinds.items()]
        archives = list[DataFrame]()
        if (found := self.looks.listing()) is not None:
            archives.append(named(found.withColumn("is_photo", F.lit(True)), self.settings))
        if odd := self.looks.odd:
            archives.append(self.kinds["archive"].drop("content").where(F.col("source").isin(odd) & F.col("is_photo")))
        parts += [part.withColumn("kind", F.lit("archive")) for part in archives]
        return reduce(DataFrame.unionByName, parts)

    def holds_photo(self) -> dict[str, Column]:
        """For each input, an aggregate over the listing: whether it holds a photo."""
        return {
            text: F.coalesce(F.bool_or(F.col("is_photo") & lies_in(roots)), F.lit(False))
            for text, roots in self.roots.items()
        }


def open_inputs(spark: SparkSession, inputs: Sequence[str], settings: Settings) -> Sources:
    """The inputs: folders, globs, photos, archives, Parquet tables, by any URI that Spark reads.

    inputs: those of the settings, fetched.
    Raises InputError where one does not exist, cannot be listed, or is a file of another kind.
    """
    roots = {text: resolve(spark, text) for text in inputs}
    distinct = {root.path: root for found in roots.values() for root in found}
    try:
        lists = {root.path: root for text, found in roots.items() if is_list(text) for root in found}
        others = [root for path, root in distinct.items() if path not in lists]
        tables = read_as([root for root in others if is_table(spark, root.path, root.is_folder)])
        others = [root for root in others if root.path not in tables]
        links = Links(root for root in others if root.is_local)
        binary = [*without_nested(root for root in others if not root.is_local), *links.to_list()]
        kinds, looks = dict[str, DataFrame](), Looks(None, {})
        if binary:
            kinds["file"], entries, archives = open_files(spark, binary)
            looks = look_through_all(spark, archives, settings.max_bytes)
            if archives:
                kinds["archive"] = entries
            if looks.refused:
                kinds["archive"] = entries.where(~F.col("source").isin(list(looks.refused)))
            if looks.links:
                kinds["archive"] = without_links(kinds["archive"], looks.links)
        opened = [open_table(spark, root, settings) for root in sorted(set(tables.values()))]
        opened += [(ADDRESS, open_list(spark, root, settings)) for root in lists.values()]
        for kind, rows in opened:
            kinds[kind] = kinds[kind].unionByName(rows) if kind in kinds else rows
        kinds |= {kind: open_unlisted(spark, rows) for kind, rows in links.unlisted().items()}
        kinds = kinds or {"file": open_unlisted(spark, [])}
    except (Py4JJavaError, PySparkException) as error:
        raise InputError(f"the inputs cannot be listed: {reason(error)}") from None
    roots = {text: [tables.get(root.path, root) for root in found] for text, found in roots.items()}
    return Sources({kind: named(rows, settings) for kind, rows in kinds.items()}, roots, links, looks, settings)
