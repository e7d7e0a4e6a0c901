"""Scorers of other distributions: real dist-info folders on sys.path, loaded when they are asked for."""

import sys

import pytest

from llmbench.bench.scorers import SCORERS, Params, Score, score, scorer_rows
from llmbench.bench.scorers.registry import OWN, Scorer
from llmbench.errors import DatasetError
from tests.test_scorers import sample

SHOUT = """
from llmbench.bench.scorers import Params, Score, scorer


class ShoutParams(Params):
    marks: int = 1


@scorer("shout", ShoutParams)
def shout(params, output, sample, schema):
    "1 when the reply ends in enough exclamation marks."
    hit = float(output.endswith("!" * params.marks))
    return Score(hit, {"marks": hit})
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a distribution of one module; scorers and modules that a test loads are gone after it."""
    before, modules = dict(SCORERS), set(sys.modules)

    def add(name, source, points):
        site = tmp_path / name
        info = site / f"{name}-1.2.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8"
        )
        lines = "".join(f"{scorer} = {target}\n" for scorer, target in points.items())
        (info / "entry_points.txt").write_text(f"[llmbench.scorers]\n{lines}", encoding="utf-8")
        (site / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.syspath_prepend(str(site))

    yield add
    for name in SCORERS.keys() - before.keys():
        del SCORERS[name]
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def row(name):
    (found,) = [row for row in scorer_rows() if row.name == name]
    return found


def test_an_installed_scorer_is_found_by_its_name(install):
    install("loud", SHOUT, {"shout": "loud:shout"})
    assert score("shout", {"marks": 2}, "Hey!!", sample("x"), None) == Score(1.0, {"marks": 1.0})
    assert score("shout", {"marks": 2}, "Hey!", sample("x"), None).value == 0
    assert SCORERS["shout"].source == "loud 1.2"
    with pytest.raises(DatasetError, match="scorer `shout` has no parameter `mark`; did you mean `marks`"):
        score("shout", {"mark": 2}, "Hey!", sample("x"), None)


def test_an_installed_scorer_is_imported_when_it_is_asked_for(install):
    install("loud", SHOUT, {"shout": "loud:shout"})
    score("exact", {}, "x", sample("x"), None)
    with pytest.raises(DatasetError, match="scorer `shoud` is unknown; did you mean `shout`"):
        score("shoud", {}, "x", sample("x"), None)
    assert "loud" not in sys.modules
    score("shout", {}, "x", sample("x"), None)
    assert "loud" in sys.modules


def test_a_list_of_scorers_shows_installed_ones(install):
    install("loud", SHOUT, {"shout": "loud:shout"})
    shown = row("shout")
    assert shown.summary == "1 when the reply ends in enough exclamation marks."
    assert (dict(shown.params), shown.source, shown.is_broken) == ({"marks": "1"}, "loud 1.2", False)
    assert row("exact").source == "llmbench"


BROKEN = {
    "raises": (SHOUT + "\n1 / 0\n", "broken:shout", "(ZeroDivisionError: division by zero)"),
    "exits": ("raise SystemExit(3)", "broken:shout", "(SystemExit: 3)"),
    "is no Python": ("def", "broken:shout", "(SyntaxError: "),
    "lacks the function": (SHOUT, "broken:whisper", "(AttributeError: "),
    "lacks the module": ("", "missing_module:shout", "(ModuleNotFoundError: "),
    "takes a name of ours": (
        SHOUT.replace('"shout"', '"exact"'),
        "broken:shout",
        "`exact` is already registered",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plug_in_is_an_error_of_its_own_scorer_alone(install, case):
    source, target, reason = BROKEN[case]
    before = dict(SCORERS)
    install("broken", source, {"shout": target})
    install("kind", SHOUT.replace("shout", "greet"), {"greet": "kind:greet"})
    for _ in range(2):  # asked again, it is broken again
        with pytest.raises(DatasetError) as caught:
            score("shout", {}, "Hey!", sample("x"), None)
        assert str(caught.value).startswith(f"scorer `shout` of broken 1.2 cannot be loaded from `{target}` ")
        assert reason in str(caught.value)
    assert before == SCORERS
    assert score("greet", {}, "Hey!", sample("x"), None).value == 1
    assert score("exact", {}, "x", sample("x"), None).value == 1
    shown = row("shout")
    assert shown.is_broken
    assert shown.source == "broken 1.2"
    assert reason in shown.summary


def test_a_plug_in_that_registers_nothing_of_the_name_is_told_so(install):
    install("quiet", "def shout(): pass", {"shout": "quiet:shout"})
    with pytest.raises(
        DatasetError, match=r"`quiet:shout` of quiet 1\.2 was loaded but registers no scorer `shout`"
    ):
        score("shout", {}, "Hey!", sample("x"), None)


def test_two_distributions_of_one_name_are_not_chosen_between(install):
    install("loud", SHOUT, {"shout": "loud:shout"})
    install("louder", SHOUT, {"shout": "louder:shout"})
    with pytest.raises(DatasetError, match=r"`shout` is offered by loud 1\.2 and louder 1\.2; uninstall one"):
        score("shout", {}, "Hey!", sample("x"), None)


def test_a_plug_in_cannot_replace_a_scorer_of_ours(install):
    install("sly", SHOUT.replace('"shout"', '"exact"'), {"exact": "sly:shout"})
    assert score("exact", {}, "no!", sample("x"), None).value == 0
    assert "sly" not in sys.modules
    rows = {row.source: row for row in scorer_rows() if row.name == "exact"}
    assert not rows["llmbench"].is_broken
    assert rows["sly 1.2"].is_broken
    assert "is not used" in rows["sly 1.2"].summary


WRONG = """
from llmbench.bench.scorers import Params, Score, scorer


@scorer("wrong")
def wrong(params, output, sample, schema):
    return {expression}
"""


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("1 / 0", "it failed (ZeroDivisionError: division by zero); repair the scorer"),
        ("0.5", "it gave a float; return a Score"),
        ("Score(1.5, {})", "a value of Score(value=1.5, details={}) is not within 0 and 1"),
        ("Score(float('nan'), {})", "is not within 0 and 1"),
        ("Score(1.0, {'rule': -1.0})", "is not within 0 and 1"),
    ],
)
def test_a_plug_in_that_fails_on_a_reply_is_named(install, expression, reason):
    install("bad", WRONG.replace("{expression}", expression), {"wrong": "bad:wrong"})
    with pytest.raises(DatasetError) as caught:
        score("wrong", {}, "text", sample("x"), None)
    assert str(caught.value).startswith("scorer `wrong` of bad 1.2, sample s-1: ")
    assert reason in str(caught.value)


def test_a_scorer_of_ours_that_fails_unforeseen_is_named_with_its_sample_and_the_cause(monkeypatch):
    def falls(params, output, sample, schema):
        raise ModuleNotFoundError("no dictionary")

    monkeypatch.setitem(SCORERS, "falls", Scorer(Params, falls, OWN))
    expected = (
        r"scorer `falls` of llmbench, sample s-1: it failed \(ModuleNotFoundError: no dictionary\); report it"
    )
    with pytest.raises(DatasetError, match=expected):
        score("falls", {}, "an answer", sample("a target"), None)
