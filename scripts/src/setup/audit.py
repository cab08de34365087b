"""Look up the locked requirements in PyPI's advisories; exit 1 where one has a known vulnerability.

Usage: audit.py REQUIREMENTS. Where no source of advisories answers, say so in a line, and exit 0.
"""

import json
import subprocess
import sys
from typing import Any

CANNOT_CONNECT = ("ConnectionError", "Could not connect", "timed out", "Max retries", "ServiceError")


def main(requirements: str) -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", requirements, "--disable-pip", "--require-hashes"]
    audit = subprocess.run(
        [*command, "--progress-spinner", "off", "--format", "json"], capture_output=True, text=True, check=False
    )
    if not audit.stdout.strip():
        last = (audit.stderr.strip().splitlines() or ["no reason given"])[-1]
        if not any(word in audit.stderr for word in CANNOT_CONNECT):
            print(f"audit: pip-audit failed: {last}", file=sys.stderr)
            return 1
        print(f"audit: SKIPPED, no source of advisories answers: {last[:160]}")
        return 0
    return report(json.loads(audit.stdout)["dependencies"])


def report(packages: list[dict[str, Any]]) -> int:
    """Print what pip-audit found of each package; returns the exit code."""
    audited = [package for package in packages if "vulns" in package]
    if not audited:
        print(f"audit: SKIPPED, no source of advisories answers: of {len(packages)} packages, none is known to it")
        return 0
    found = [(package, vulnerability) for package in audited for vulnerability in package["vulns"]]
    for package, vulnerability in found:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"audit: {package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(f"audit: {len(audited)} of {len(packages)} packages looked up, {len(found)} known vulnerabilities")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
