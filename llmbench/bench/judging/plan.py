"""Who judges a task's answers, how, and by what: as a person writes it, and frozen in the plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictStr

from llmbench.catalog import ModelSpec
from llmbench.config.values import Unit
from llmbench.errors import SweepError

Strategy = Literal["pairwise", "rubric"]
Addressed = Literal["withhold", "show"]
#: The version of the instructions and the fence; another one asks other questions.
PROMPT_VERSION: Final = 1
#: Names of OpenAI's language models, which do not all begin with one word.
_OPENAI: Final = re.compile(r"(?:chat)?gpt(?=[-\d]|\Z)|o[134](?=-|\Z)")


class JudgeFile(BaseModel):
    """`judge` of a task in a plan file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    model: StrictStr = Field(description="The judge: a model key or an operator code.")
    strategy: Strategy = Field(
        "pairwise",
        description="pairwise: beside the reference's answer, in both orders. rubric: points.",
    )
    criteria: list[Annotated[StrictStr, Field(pattern=r"\S")]] = Field(
        [],
        description="What to judge by; a sample's checks.criteria wins. Else what the task asks.",
    )
    scale: Annotated[int, Field(ge=2, le=10)] = Field(
        5, description="Rubrics: points of a criterion, from 1 to this."
    )
    show_target: bool = Field(
        default=False, description="true: the judge sees the sample's target as one good answer."
    )
    addressed: Addressed = Field(
        "withhold",
        description="withhold: sentences that speak to a judge are marked out. show: they stay.",
    )
    max_tokens: Annotated[int, Field(ge=16), Unit("tokens")] = Field(
        512, description="Output limit of a verdict, ample for judges that think."
    )
    own_answers: bool = Field(
        default=False, description="true: accept a judge that is a candidate of the task itself."
    )

    def freeze(self) -> JudgePlan:
        """The same as a part of a frozen plan; the model is still named as it was written."""
        values = self.model_dump() | {"criteria": tuple(self.criteria)}
        return JudgePlan(**values)


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """The judge of a task, fixed before the first call; the attributes are those of `JudgeFile`."""

    model: str
    strategy: Strategy = "pairwise"
    criteria: tuple[str, ...] = ()
    scale: int = 5
    show_target: bool = False
    addressed: Addressed = "withhold"
    max_tokens: int = 512
    own_answers: bool = False

    def facts(self) -> dict[str, Any]:
        """The JSON form, as plan.json holds it."""
        return asdict(self) | {"criteria": list(self.criteria), "prompt_version": PROMPT_VERSION}


def family_of(spec: ModelSpec) -> str:
    """A model's declared family whole, else the first word of its id without the vendor: `gemini`, `kimi`.

    Any name of an OpenAI model, declared too, is `gpt`: a deployment declares its model's name as its family.
    """
    declared = (spec.family or "").strip().casefold()
    name = (declared or spec.model_id.casefold()).rpartition("/")[2]
    if _OPENAI.match(name):
        return "gpt"
    word = re.match(r"[^\W\d_]+", name)
    return declared or (word[0] if word else name)


def check_independent(
    task: str, plan: JudgePlan, judge: ModelSpec, candidates: Iterable[ModelSpec]
) -> list[str]:
    """What is to be said about a judge that is near to a candidate: models tend to prefer their own answers.

    Args:
        task: the judged task.
        plan: its judge; `own_answers` allows what is refused otherwise.
        judge: the judge's registry entry.
        candidates: those of every model whose answers it judges, the reference included.

    Returns:
        A notice for each case, for the plan's notices.

    Raises:
        SweepError: the judge is one of the candidates (the same id at the same provider).
    """
    others = list(candidates)
    own = [spec.key for spec in others if (spec.provider, spec.model_id) == (judge.provider, judge.model_id)]
    if own and not plan.own_answers:
        raise SweepError(
            f"{task}: judge: {judge.key} would judge its own answers (candidate {', '.join(own)}); name "
            "another model as judge, or write `own_answers: true` to accept its bias"
        )
    family = family_of(judge)
    kin = [spec.key for spec in others if spec.key not in own and family_of(spec) == family]
    notices = []
    if own:
        notices.append(
            f"{task}: {judge.key} judges its own answers ({', '.join(own)}): expect a bias for them."
        )
    if kin:
        notices.append(
            f"{task}: the judge {judge.key} is of one family ({family}) with {', '.join(kin)}: models tend "
            "to prefer answers of their own kind; a judge of another family is better evidence."
        )
    return notices
