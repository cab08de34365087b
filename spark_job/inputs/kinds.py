"""Kinds: what is a photo, an archive and a table by its name, and what is not listed."""

SUFFIX = r"\.(jpe?g|png|webp|bmp|gif|tiff?)$"
IS_PHOTO = rf"(?i)(^|/)[^./][^/]*{SUFFIX}"
# The same for the names of entries, as Hadoop's globs can say it: a name may end with a line's end, which $ lets pass.
_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff")
ENTRIES = "*.{" + ",".join("".join(f"[{c}{c.upper()}]" for c in suffix) for suffix in _SUFFIXES) + "}{,?,??}"
IS_ARCHIVE = r"(?i)\.(tar|tar\.gz|tgz|zip|7z)$"  # what Spark 4.3 opens
IS_TABLE = r"(?i)\.parquet$"
IS_LIST = r"(?i)(\.(csv|txt)(\.gz)?|(^|/)manifest\.json)$"  # of addresses, where it is an input itself
ADDRESS = "address"  # the kind of rows of a listing whose photos workers read by their names
READABLE = "|".join(f"(?:{kind})".replace("(?:(?i)", "(?i:") for kind in (IS_PHOTO, IS_ARCHIVE, IS_TABLE, IS_LIST))
# Listed: names that begin with _ (cameras write _DSC0001.jpg), and a dot before a photo's name (._IMG.jpg), so
# that it is counted as skipped. Not listed: other dot files, and dot folders.
# A dot alone is a folder itself: tar writes ./a.jpg.
IGNORED = rf"(?i)^\.(?!$|.*{SUFFIX})"
# Kinds of rows of a listing that nothing can be read of: an archive's own, names that Java cannot say, links that lead
# nowhere, and what is no file: pipes, sockets, devices.
DAMAGED, NAMELESS, NOWHERE, SPECIAL = NOT_READ = ("damaged", "nameless", "nowhere", "special")
