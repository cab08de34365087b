"""Inputs: what is to be encoded: folders, globs, archives, tables, lists of addresses and URLs -> one row per photo.

sources.open_inputs opens them, photos.list_photos lists them, photos.contents reads them; download, looks (with tars,
zips and bombs) and archives deal with what archives can do to a run, addresses (with lists, and in workers stores
and ahead) with photos that a table only names, names with what a photo is called in the results.
Never imported here: table and results. It knows a photo's key, and no other column of a row.
"""
