"""``make audit``: known vulnerabilities of what we install, secrets in tracked files, licences of what we ship.

Needs the network for the first. Exit status 1 when anything is found, or could not be looked at.
"""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

LOCKS = ("runtime", "build", "dev", "audit")

NOT_SECRET = {
    ("fixtures/messages/*.json", "Hex High Entropy String"): "ids of resources, made with the keys of the tests",
    ("fixtures/messages/*.json", "Base64 High Entropy String"): "an empty PDF that a fictional laboratory sends",
    ("fixtures/config/recipients/*.toml", "Secret Keyword"): "secret_env names a variable and is no secret",
    ("tests/*", "Basic Auth Credentials"): "accounts of servers that the tests start for themselves on loopback",
    ("tests/trial_systems.py", "Secret Keyword"): "the stand-ins' secret",
    ("tests/acceptance/*.py", "Secret Keyword"): "the stand-ins' secret",
    ("tests/unit/adapters/recipient/*.py", "Secret Keyword"): "secrets of recipients that do not exist",
    ("tests/unit/gateway/store/test_types.py", "Hex High Entropy String"): "a UUID with a digit too many",
}
"""What the scan takes for a secret and is none, by file and kind, and why."""

HASHED = "requirements/*.txt"
"""Nothing but names, versions and the digests that pip compares."""

LICENCES = re.compile(r"\b(MIT|BSD|Apache|ISC|PSF|MPL|Mozilla|LGPL)\b")
"""What a program under Apache-2.0 may be shipped with (under MPL and LGPL: unchanged, and replaceable)."""


def vulnerable() -> bool:
    """Ask for known vulnerabilities of every locked version; what cannot be looked up counts as found."""
    bad = False
    for lock in LOCKS:
        say(f"vulnerabilities: requirements/{lock}.txt")
        words = ["--requirement", f"requirements/{lock}.txt", "--require-hashes", "--disable-pip", "--strict"]
        done = subprocess.run([sys.executable, "-m", "pip_audit", "--progress-spinner", "off", *words], check=False)
        bad |= done.returncode != 0
    return bad


def secret() -> bool:
    """Scan every tracked file."""
    from detect_secrets import SecretsCollection  # of requirements/audit.txt, not there when the tests are collected
    from detect_secrets.settings import default_settings

    say("secrets: every tracked file")
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True).stdout
    found = SecretsCollection()
    with default_settings():
        for file in filter(None, listed.split("\0")):
            if not fnmatch(file, HASHED) and Path(file).is_file():
                found.scan_file(file)
    bad = sorted((file, one.line_number, one.type) for file, one in found if not is_excused(file, one.type))
    for file, line, kind in bad:
        say(f"  {file}:{line}: {kind}: take it out and change it, or say in tests/audit.py why it is none")
    return bool(bad)


def is_excused(file: str, kind: str) -> bool:
    """Whether a finding is known not to be a secret."""
    return any(kind == excused and fnmatch(file, pattern) for pattern, excused in NOT_SECRET)


def wrongly_licensed(site_packages: str) -> bool:
    """Look at the licence of every library that is installed with the gateway."""
    say("licences: what is installed from requirements/runtime.txt")
    names = re.findall(r"^([\w.-]+)(?:\[.*?\])?==", Path("requirements/runtime.txt").read_text(), re.M)
    installed = {canonical(one.name): one.metadata for one in metadata.distributions(path=[site_packages])}
    bad = False
    for name in names:
        if (about := installed.get(canonical(name))) is None:
            continue  # of another platform
        licence = licence_of(about)
        fits = bool(LICENCES.search(licence))
        say(f"  {name}: {licence or 'does not say'}{'' if fits else ': not a licence we ship'}")
        bad |= not fits
    return bad or not names


def licence_of(about: metadata.PackageMetadata) -> str:
    """The licence a library states: SPDX, else its classifiers, else its own words."""
    classifiers = [one.rpartition(" :: ")[2] for one in about.get_all("Classifier") or () if one.startswith("License")]
    stated = about.get("License-Expression") or ", ".join(classifiers) or about.get("License") or ""
    return stated.splitlines()[0] if stated else ""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    found = [vulnerable(), secret(), wrongly_licensed(*sys.argv[1:])]
    say("audit: " + ("see above" if any(found) else "nothing found"))
    sys.exit(any(found))
