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
        "-i https://x.example/simple",
        "-r other.txt",
        "a==1 ; python_version > '3' @ x \\\n" + HASH,
    ],
)
def test_a_requirement_of_another_kind_is_a_fault(line):
    assert audit.faults(line)


def test_every_installed_package_has_a_licence_that_is_allowed_or_a_named_exception():
    assert audit.refused_licences() == []


def test_what_was_looked_at_by_hand_says_what_was_found_and_stands_in_the_list_for_readers():
    listed = (audit.ROOT / "THIRD_PARTY.md").read_text(encoding="utf-8")
    for name, found in audit.BY_HAND.items():
        assert ": " in found or ";" in found
        assert f"`{name.partition('-part')[0]}`" in listed, name


@pytest.mark.parametrize("required", ["0", "1"])
def test_an_advisory_service_that_does_not_answer_is_said_aloud_and_is_no_success(
    required, monkeypatch, capsys
):
    monkeypatch.setattr(audit, "advisories", lambda _: ([], f"2 of 2: {audit._NOBODY}"))
    monkeypatch.setenv("LLMBENCH_REQUIRE_AUDIT", required)
    assert audit.main() == int(required)
    said = capsys.readouterr().out
    assert said.count("NOT AUDITED") == len(audit.FILES) + 1
    assert "nothing known against" not in said


def test_a_known_weakness_fails_whether_or_not_an_audit_is_required(monkeypatch, capsys):
    monkeypatch.setattr(audit, "advisories", lambda _: (["a 1: PYSEC-1"], None))
    monkeypatch.setenv("LLMBENCH_REQUIRE_AUDIT", "0")
    assert audit.main() == 1
    assert "FAULT" in capsys.readouterr().out


def test_a_licence_that_takes_rights_away_is_refused(tmp_path):
    from importlib.metadata import Distribution

    for number, said in enumerate(("GPL-3.0-or-later", "AGPL-3.0", "", "BUSL-1.1", "Proprietary")):
        folder = tmp_path / f"bad{number}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: bad{number}\nVersion: 1\nLicense-Expression: {said}\n"
        )
        assert len(audit.refused_licences(iter([Distribution.at(folder)]))) == 1
