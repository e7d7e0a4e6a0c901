"""Numbers and strangers' texts in words."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from llmbench.display import wording
from llmbench.visible import visible
from tests.test_render import Page


@given(st.text())
def test_markdown_escapes_any_text_to_itself(text):
    html = MarkdownIt("commonmark").enable("table").render(f"x {wording.markdown(text)} x")
    assert re.findall(r"<[^>]+>", html) == ["<p>", "</p>"]
    plain = Page(html).text.strip()
    assert plain == f"x {' '.join(visible(text).split())} x".replace("x  x", "x  x")


@given(st.text(alphabet=st.characters(), max_size=200))
def test_visible_text_always_encodes_and_hides_nothing(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert visible(shown) == shown
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x7f]", shown)
    element = ET.Element("text")
    element.text = shown
    assert ET.fromstring(ET.tostring(element)).text == (shown or None)  # noqa: S314


@pytest.mark.parametrize(
    ("usd", "words"),
    [
        (None, "–"),
        (0, "$0"),
        (0.0123, "$0.0123"),
        (0.00438, "$0.00438"),
        (0.5, "$0.500"),
        (1.234, "$1.23"),
        (28, "$28.00"),
        (12345.6, "$12,345.60"),
        (1e-7, "$0.000000100"),
        (0.99999, "$1.00"),
    ],
)
def test_money_keeps_three_digits(usd, words):
    assert wording.money(usd) == words


@pytest.mark.parametrize(
    ("delta", "words"), [(None, "–"), (0.0, "±0.0"), (-0.0001, "±0.0"), (-0.005, "−0.5"), (0.029, "+2.9")]
)
def test_changes_carry_a_true_minus_sign(delta, words):
    assert wording.change(delta) == words


@pytest.mark.parametrize(
    ("ms", "words"), [(None, "–"), (0.4, "0 ms"), (812.4, "812 ms"), (999.7, "1.00 s"), (120_000, "120 s")]
)
def test_durations_change_unit_at_a_second(ms, words):
    assert wording.duration(ms) == words
