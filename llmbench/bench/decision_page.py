"""A decision in a notebook: the paragraph, a row a candidate, and the pictures of difference and evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import Element

from llmbench import markup
from llmbench.bench.decision_facts import said_decision
from llmbench.display import decision_text, figures, wording
from llmbench.display.evidence_figures import EvidencePath, draw_evidence

if TYPE_CHECKING:
    from llmbench.bench.decision import Decision

_HEAD: Final = (
    "candidate",
    "state",
    "prompts",
    "difference",
    "interval",
    "evidence",
    "cost",
    "p95",
    "failed",
)


def decision_html(decision: Decision) -> str:
    """The HTML of a decision. Every name is escaped."""
    said = markup.paragraph(decision_text.paragraph(said_decision(decision)))
    rows = markup.table(_HEAD, [_row(decision, key) for key in decision.why])
    drawn = (_differences(decision), _evidence(decision))
    style = figures.style()
    pictures = "".join(
        f"<div style='max-width:34em'>{figures.for_notebook(each, style)}</div>"
        for each in drawn
        if each is not None
    )
    return f"{said}{rows}{pictures}"


def _differences(decision: Decision) -> Element | None:
    intervals = [
        figures.Interval(row.name, row.state, row.interval[0], row.delta, row.interval[1])
        for row in decision.why.values()
        if row.delta is not None
    ]
    margin = decision.terms.margin
    return figures.draw_differences(
        intervals, reference=decision.reference.name, margin=margin, key="difference"
    )


def _evidence(decision: Decision) -> Element | None:
    paths = [
        EvidencePath(row.name, row.state, row.path) for row in decision.why.values() if len(row.path) > 1
    ]
    return draw_evidence(paths, threshold=1.0 / decision.terms.side, key="evidence") if paths else None


def _row(decision: Decision, key: str | tuple[str, ...]) -> tuple[str, ...]:
    row = decision.why[key]
    return (
        row.name,
        decision_text.STATES[row.state],
        str(row.n),
        wording.change(row.delta),
        wording.change_interval(row.interval) if row.differences else "",
        f"{decision_text.growth(row.evidence)} of {decision_text.growth(row.threshold)}",
        wording.ratio(row.cost_ratio),
        wording.duration(row.p95_ms),
        wording.share(row.failure_rate),
    )
