"""What Inspect AI loads by its entry point: the model provider `llmbench`.

Inspect loads every provider of a machine, whether it is used or not. So nothing of ours is imported here
before a model of ours is asked for.
"""

from __future__ import annotations

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="llmbench")
def llmbench() -> type[ModelAPI]:
    """The class behind `--model llmbench/<task, tier or model>`."""
    from llmbench.interop.inspect_model import TierModel

    return TierModel
