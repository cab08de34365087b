"""Spark: Spark and Hadoop themselves: the session and its properties, file systems of any URI, gauges, executors.

Never imported here: any stage of the job (faces, inputs, table, results).
"""
