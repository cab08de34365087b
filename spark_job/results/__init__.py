"""Results: what the rows come to: exact sums, the account of the photos, the files that people read.

moments are the sums and what follows from them, sums takes them on Spark, tally counts statuses, result is mean.json.
It reads rows of the table by their columns (row.py), and never makes one.
"""
