"""Row: what a row of OUTPUT/photos is, one for each photo, whatever happened to it."""

KEY = ["path", "length", "modificationTime"]  # of a photo: a row of these is of this photo as it is now
# Why a photo could not be looked at; the other statuses say what is in it.
FAILURES = ("unreadable", "truncated", "empty", "too_large", "unsupported", "timed_out", "crashed")
STATUSES = ("ok", "no_face", "several_faces", *FAILURES)
SCHEMA = """
    path string, length long, modificationTime timestamp, `group` string,
    status string, message string, width int, height int, faces_found int,
    faces array<struct<
        top: int, right: int, bottom: int, left: int, detector: string, score: float,
        landmarks: array<struct<x: int, y: int>>, embedding: array<float>>>,
    decode_ms float, detect_ms float, embed_ms float, settings_id string, processor string
"""
