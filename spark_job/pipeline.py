"""Pipeline: the whole job on one screen, in the order in which the data flows."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from spark_job.console import Console
from spark_job.faces.engine import model_names, why_slow
from spark_job.faces.models import digests
from spark_job.faces.runtimes import check_installed
from spark_job.inputs.archives import leniently
from spark_job.inputs.download import fetch
from spark_job.inputs.names import check_group_by
from spark_job.inputs.photos import contents, list_photos
from spark_job.inputs.sources import open_inputs
from spark_job.results.apart import write_statistics
from spark_job.results.documents import REPORT, made_with
from spark_job.results.groups import write_groups
from spark_job.results.listing import write_listing, write_run
from spark_job.results.result import Result, write_mean
from spark_job.results.standing import Found, basis, keep, standing
from spark_job.results.sums import total
from spark_job.results.tally import check_has_faces, checked, tally
from spark_job.settings import Settings, settings_id
from spark_job.spark.executors import awaited
from spark_job.spark.metrics import Gauges
from spark_job.spark.session import compile_for, open_session, step
from spark_job.table.checkpoint import damage_named, repair
from spark_job.table.compact import settle
from spark_job.table.encode import encode
from spark_job.table.lock import only_run
from spark_job.table.store import PhotosTable, current, open_output, outcomes
from spark_job.table.unread import account_for_unread


def run(settings: Settings, spark: SparkSession | None = None, console: Console | None = None) -> Result:
    """The mean embedding of a collection of photos, and everything that it rests on.

    spark: the caller's session, which is left running and as it was; without it, one is made and stopped.
    Raises FacemeanError. What goes wrong with one photo is in its row.
    """
    console = console or Console(quiet=True)
    started, clock = datetime.now(UTC), [time.monotonic()]
    check_installed(settings.engine)
    if slow := why_slow(settings):
        console.say(slow)
    models = digests(model_names(settings))
    identity = settings_id(settings, models)

    with open_session(settings, spark) as session, ExitStack() as held:
        held.enter_context(awaited(session.sparkContext, console.say))
        compile_for(session, rows=0)  # until they are counted
        with step(session, "list the inputs"):
            check_group_by(session, settings.group_by)
            sources = open_inputs(session, fetch(settings, console.progress), settings)
            listing = list_photos(sources, held)
            compile_for(session, listing.listed)

        with step(session, f"find the photos that have no row of settings {identity}"):
            output = open_output(session, settings.output)
            held.enter_context(only_run(output))
            settle(output)
            held.enter_context(damage_named(session, output))
            if settings.repair:
                console.repaired(repair(session, output))
            made = made_with(settings, identity, models, started)
            found = standing(output, basis(output, made, listing.digest))
            table = PhotosTable(session, output, identity)
            wanted, missing = (listing.photos, 0) if found else table.wanted(listing.photos, listing.listed)
        with step(session, "write down what the inputs hold"):
            if not found:
                write_listing(output, listing.photos, listing.listed)
            write_run(output, listing.listed, missing, made)
        console.plan(settings, identity, listing, missing, bool(found), session.sparkContext)
        gauges = Gauges(session.sparkContext, listing.listed, missing)

        clock.append(time.monotonic())
        if missing:
            with step(session, f"encode {missing:,} photos"):
                photos = contents(sources, wanted, missing == listing.listed, settings.max_bytes)
                # What does not come is accounted for below.
                with leniently(session), console.progress("photos", missing, gauges.done, gauges.tell):
                    table.append(encode(photos, settings, models, gauges.statuses))
        clock.append(time.monotonic())

        if found:
            gauges.settle(found.photos)
        else:
            with step(session, "count the photos by status"):
                account = tally(outcomes(listing.photos, table.rows()))
                if account.unread:
                    account_for_unread(sources, listing, table, settings, models)
                    account = tally(outcomes(listing.photos, table.rows()))
                counts = checked(account, outcomes(listing.photos, table.rows()), listing.listed)
                gauges.settle(counts)
            with step(session, f"sum the embeddings of {counts['ok']:,} photos"):
                # Where the table has a row for each photo and no other, none need be looked for.
                is_current = account.rows == listing.listed and not account.regrouped
                faces = table.rows() if is_current else current(listing.photos, table.rows(), "faces")
                moments, scatter = total(faces)
                check_has_faces(moments, counts)
            group_means = write_groups(output, faces) if settings.group_by != "none" else None
            write_statistics(output, settings, listing.photos, table.rows(), moments, scatter, group_means)
            output.remove(REPORT)  # of photos that may be gone
            found = Found(moments, group_means, counts, account.failures, account.processors)
            if not account.unsettled:
                keep(output, basis(output, made, listing.digest), found)

        result = Result(
            settings=settings,
            settings_id=identity,
            models=models,
            output=output.uri,
            encoded=missing,
            skipped=listing.skipped,
            started=started,
            seconds=time.monotonic() - clock[0],
            encoding_seconds=clock[2] - clock[1],
            **found._asdict(),
        )
        write_mean(output, result)
        return result
