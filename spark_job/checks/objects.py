"""Objects: the claims, secrets and config maps of a namespace that Spark's properties name, asked for one by one."""

import re

from spark_job.checks.api_server import ApiServer
from spark_job.errors import PreflightError

ROLE = r"spark\.kubernetes\.(driver|executor)\."
# By kind, as the API's paths have it: what it is called, and the properties that name one: by their value (a name, a
# name:key, or several names), where not by their own name.
KINDS = {
    "persistentvolumeclaims": ("claim", rf"{ROLE}volumes\.persistentVolumeClaim\..+\.options\.claimName"),
    "secrets": (
        "secret",
        rf"{ROLE}(secretKeyRef\..+|secrets\.(?P<name>.+))"
        r"|spark\.kubernetes\.(container\.image\.pullSecrets|kerberos\.tokenSecret\.name)",
    ),
    "configmaps": ("config map", r"spark\.kubernetes\.(hadoop|kerberos\.krb5)\.configMapName"),
}
# Claims that Spark makes for each executor.
MADE = r"OnDemand|.*SPARK_EXECUTOR_ID.*"


def named(conf: dict[str, str], kind: str) -> set[tuple[str, str]]:
    """Name and key ("" for all) of each object of a kind that the properties name."""
    found = set()
    for property_, value in conf.items():
        if match := re.fullmatch(KINDS[kind][1], property_):
            for text in (match.groupdict().get("name") or value).split(","):
                name, _, key = text.strip().partition(":")
                found.add((name, key))
    return {(name, key) for name, key in found if name and not re.fullmatch(MADE, name)}


def look(api: ApiServer, conf: dict[str, str], kind: str, remedy: str) -> str:
    """The names of those of a kind, "" where none is named.

    Raises PreflightError where one is missing; remedy: of it, with {} for its name.
    """
    told, word = [], KINDS[kind][0]
    for name, key in sorted(named(conf, kind)):
        found = api.seen(f"/api/v1/namespaces/{api.namespace}/{kind}/{name}")
        if found is None or (found and key and key not in found.get("data", {})):
            missing = f"{word} {name} has no key {key}" if found else f"there is no {word} {name}"
            raise PreflightError(f"{missing} in namespace {api.namespace}: {remedy.format(name)}")
        told.append(name if found else f"{name} (not seen: this user may not look)")
    return ", ".join(dict.fromkeys(told))
