"""Table: OUTPUT/photos, one row per photo, whatever happens to it: the result, and the checkpoint of a run.

encode makes the rows in Spark's workers, isolate keeps a photo that crashes to itself, store appends and reads, unread
gives a row to what could not be read, lock keeps a second run out, checkpoint mends, compact merges files,
stale finds the rows that no longer count.
Never imported here: results.
"""
