"""Checks: facemean check: whether a run can work here, on this machine or on a cluster.

preflight is the command; cluster asks Kubernetes through api_server, and objects for what the properties name.
Imported by the command line alone (and by scripts/submit-k8s).
"""
