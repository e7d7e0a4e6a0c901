"""What is installed is pinned by hash, from no address, under a licence that is allowed."""

from __future__ import annotations

import pytest

from tests import audit

HASH = "    --hash=sha256:" + "a" * 64


@pytest.mark.parametrize("path", audit.FILES, ids=lambda path: path.name)
def test_every_requirement_is_one_version_with_hashes(path):
    assert audit.faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "a>=1 \\\n" + HASH,
        "a \\\n" + HASH,
        "a==1.*  \\\n" + HASH,
        "a==1",
        "a==1 \\\n    --hash=md5:" + "a" * 32,
        "a @ https://x.example/a.whl \\\n" + HASH,
        "git+https://x.example/a.git \\\n" + HASH,
        "./a.whl \\\n" + HASH,
        "-e .",
        "--index-url https://x.example/simple",
        "-r other.txt",
        "a==1 ; python_version > '3' @ x \\\n" + HASH,
    ],
)
def test_a_requirement_of_another_kind_is_a_fault(line):
    assert audit.faults(line)


def test_every_installed_package_has_a_licence_that_is_allowed_or_a_named_exception():
    assert audit.refused_licences() == []


def test_a_licence_that_takes_rights_away_is_refused(tmp_path):
    from importlib.metadata import Distribution

    for number, said in enumerate(("GPL-3.0-or-later", "AGPL-3.0", "", "BUSL-1.1", "Proprietary")):
        folder = tmp_path / f"bad{number}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: bad{number}\nVersion: 1\nLicense-Expression: {said}\n"
        )
        assert len(audit.refused_licences(iter([Distribution.at(folder)]))) == 1
