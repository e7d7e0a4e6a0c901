"""Comments of files that `llmbench migrate` rewrites: each stays with its value, and none is made up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmbench.migration import migrate
from llmbench.migration.comments import comments

OLD = """\
# 先頭
providers:
  openrouter: {env_api_key: OPENROUTER_API_KEY}   # p
models:
  k:   # key
    provider: openrouter
    model_name: a/b
    allow_temperature_param: false   # 温度: required
    # between
    fallback_model: k2 # tail
  k2: {provider: openrouter, model_name: c/d}
tiers:
  standard:
  - k     # 最初
  # 次
  - missing/model   # made
tasks:
  t:
    options: {max_output_tokens: 5}   # five
    model: k2   # pinned "x # y"
    colour: red   # gone
  'u # v': {model: "k"}
# end
"""


def rewritten(folder, text):
    (folder / "old").mkdir()
    (folder / "old" / "llm_router.yaml").write_text(text, "utf-8")
    migrate(folder / "old", folder / "new", variables={})
    return (folder / "new" / "llm_router.yaml").read_text("utf-8")


def test_each_comment_stays_with_its_value_and_none_is_made_up(tmp_path):
    made = rewritten(tmp_path, OLD)
    lines = [" ".join(line.split()) for line in made.splitlines()]
    for line in (
        "k: # key",
        "allow_temperature: false # 温度: required",
        "fallback_model: k2 # tail",
        "- k # 最初",
        "- or_missing_model # made",
        "options: {max_tokens: 5} # five",
        '- k2 # pinned "x # y"',
    ):
        assert line in lines
    assert lines[lines.index("# between") + 1].startswith("fallback_model")
    assert lines[lines.index("# 次") + 1].startswith("- or_missing_model")
    assert lines[-1] == "# end"
    assert sorted(comments(made)) == sorted(comments(OLD))


def test_a_comment_beside_what_is_gone_has_a_line_in_its_place(tmp_path):
    lines = [line.strip() for line in rewritten(tmp_path, OLD).splitlines()]
    assert lines.index("t:") < lines.index("# gone") < lines.index("'u # v': {models: [k]}")


def test_a_secret_that_a_comment_repeats_is_not_copied(tmp_path):
    secret = "abcdef0123456789"
    text = OLD.replace("env_api_key: OPENROUTER_API_KEY", f"api_key: {secret}").replace(
        "# five", f"# {secret}"
    )
    assert secret not in rewritten(tmp_path, text)
    assert all(secret not in path.read_text("utf-8") for path in (tmp_path / "new").iterdir())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 'x # y' # real\n", ["# real"]),
        ("a: |  # head\n  # text\n  more # text\n# after\n", ["# head", "# after"]),
        ('a: "x\n  # text\n  y"  # real\n', ["# real"]),
        ("a: plain#text\n", []),
        ("'k # x': [1, # one\n  2] # two\n", ["# one", "# two"]),
        ("a: '😀 # x' # 😀\n", ["# 😀"]),
    ],
)
def test_a_comment_is_what_stands_in_no_value(text, found):
    assert comments(text) == found


WORDS = st.text("ab #'\":", max_size=6)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_texts_in_quotes_hold_no_comment(pairs):
    text = "".join(
        "'{}{}': '{}' # {}\n".format(number, *(word.replace("'", "''") for word in pair), number)
        for number, pair in enumerate(pairs)
    )
    assert comments(text) == [f"# {number}" for number in range(len(pairs))]


MERGING = """\
# top
models:
  # A
  one: {provider: gemini, model_name: gemini-2.5-pro, allow_top_p_param: false}  # one
  # B
  two:           # two
    <<: &base {provider: openrouter, api_version_responses: x}   # merge
    model_name: foo/bar   # name
  # C
  three:
    <<: *base
    model_name: foo/baz
# end
"""


def test_a_merge_key_costs_a_file_none_of_its_comments(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    (old / "llm_model_registry.yaml").write_text(MERGING)
    (old / "llm_tasks.yaml").write_text("a: one\nb: two\nc: three\n")
    done = migrate(old, tmp_path / "new", variables={})
    text = (tmp_path / "new" / "llm_model_registry.yaml").read_text()
    assert sorted(comments(text)) == sorted(comments(MERGING))
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("# C") + 1] == "three:"
    assert "two:           # two" in lines
    assert done.differences == ()
    assert [loss for loss in done.losses if loss.key == "comments"] == []
