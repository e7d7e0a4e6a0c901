"""Parameters of a notebook are checked before a kernel starts."""

from pathlib import Path

import pytest

from llmbench.bench.notebook_parameters import checked_notebook, typed_values
from llmbench.bench.notebooks import run_notebook
from llmbench.errors import NotebookError
from tests.small_notebooks import DEFAULTS, notebook, read, refused  # noqa: F401


def test_an_unknown_parameter_is_refused_with_the_near_name_and_the_known_ones(tmp_path):
    assert refused(tmp_path, {"lable": "x"}) == (
        "in.ipynb: unknown parameter `lable`; did you mean `label`? "
        "(known: n, rate, label, names, mode, limit, anything)"
    )


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("n", "3", "int"),
        ("n", 3.5, "int"),
        ("n", True, "int"),
        ("rate", "fast", "float"),
        ("label", 1, "str"),
        ("names", "a", "list[str]"),
        ("names", ["a", 1], "list[str]"),
        ("mode", "medium", "Literal['fast', 'slow']"),
        ("limit", "all", "int | None"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_got_and_wanted(tmp_path, name, value, wanted):
    text = refused(tmp_path, {name: value})
    assert f"`{name}`" in text
    assert f"got {str(value)!r} ({type(value).__name__})" in text
    assert text.endswith(f"wanted {wanted}")


@pytest.mark.parametrize("value", [Path("x"), float("nan"), {1, 2}, object()])
def test_a_value_that_the_copy_could_not_hold_as_json_is_refused(tmp_path, value):
    assert "wanted finite JSON values" in refused(tmp_path, {"anything": value})


def test_values_that_fit_are_taken(tmp_path):
    source = notebook(tmp_path / "in.ipynb", parameters=DEFAULTS)
    given = {
        "n": 4,
        "rate": 1,
        "label": "c=d",
        "names": ("x",),
        "mode": "slow",
        "limit": None,
        "anything": {"a": [1]},
    }
    _, values = checked_notebook(source, tmp_path / "out.ipynb", given)
    assert values == given | {"names": ["x"]}


def test_a_parameter_without_default_must_be_given(tmp_path):
    assert "`run_dir` has no default" in refused(tmp_path, {}, parameters="run_dir: str")


@pytest.mark.parametrize("name", ["SOME_API_KEY", "SOME_TOKEN", "SOME_SECRET"])
def test_the_value_of_a_secret_is_refused_and_not_repeated(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "canary-5417")
    for value in ("canary-5417", ["canary-5417"], {"a": {"b": "canary-5417"}}):
        text = refused(tmp_path, {"anything": value})
        assert f"${name}" in text
        assert "canary" not in text


def test_a_missing_or_broken_notebook_is_named(tmp_path):
    out = tmp_path / "out.ipynb"
    with pytest.raises(NotebookError, match=r"none\.ipynb: cannot be read"):
        run_notebook(tmp_path / "none.ipynb", out, {})
    (tmp_path / "torn.ipynb").write_text('{"cells": [')
    with pytest.raises(NotebookError, match=r"torn\.ipynb: is not a notebook"):
        run_notebook(tmp_path / "torn.ipynb", out, {})
    (tmp_path / "old.ipynb").write_text('{"nbformat": 3, "worksheets": []}')
    with pytest.raises(NotebookError, match=r"old\.ipynb: is not a format 4 notebook"):
        run_notebook(tmp_path / "old.ipynb", out, {})
    plain = notebook(tmp_path / "plain.ipynb", "1", parameters=None)
    with pytest.raises(NotebookError, match="no cell is tagged `parameters`"):
        run_notebook(plain, out, {})
    with pytest.raises(NotebookError, match="would overwrite its source"):
        run_notebook(plain, plain, {})


# --- texts of a person ---

TEXTS = DEFAULTS + "\nflag: bool = False\neither: int | str = 1\nwords: str | None = None"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "4", 4),
        ("n", "4.0", 4.0),  # refused afterwards
        ("rate", ".25", 0.25),
        ("rate", "1e-3", 0.001),
        ("label", "12", "12"),
        ("label", "null", "null"),
        ("names", "a,b", ["a", "b"]),
        ("names", '["a, b"]', ["a, b"]),
        ("mode", "slow", "slow"),
        ("limit", "null", None),
        ("limit", "None", None),
        ("limit", "7", 7),
        ("anything", "x", "x"),
        ("anything", "[1, 2]", [1, 2]),
        ("flag", "True", True),
        ("flag", "false", False),
        ("either", "5", 5),
        ("either", "five", "five"),
        ("words", "a=b,c", "a=b,c"),
    ],
)
def test_a_text_becomes_what_the_annotation_wants(tmp_path, name, text, value):
    source = notebook(tmp_path / "in.ipynb", parameters=TEXTS)
    values, _ = typed_values(source, {name: text}, {})
    assert values == {name: value}
    assert type(values[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("n", "1, 2,3", [1, 2, 3]),
        ("n", "[1, 2]", [1, 2]),
        ("label", "1,a b", ["1", "a b"]),
        ("label", '["a,b", "c"]', ["a,b", "c"]),
        ("names", "a,b", [["a"], ["b"]]),
        ("names", '["a","b"],["c"]', [["a", "b"], ["c"]]),
        ("limit", "10,null", [10, None]),
        ("n", "", []),
    ],
)
def test_a_list_of_texts_becomes_values(tmp_path, name, text, found):
    source = notebook(tmp_path / "in.ipynb", parameters=TEXTS)
    assert typed_values(source, {}, {name: text}) == ({}, {name: found})


# --- a run that ends well ---
