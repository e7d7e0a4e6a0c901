"""The types of single values in the config files: what a number counts, names, dates, names of variables.

Types are strict where YAML guesses (a key `no` is not the text "no").
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr
from pydantic_core import PydanticCustomError

from llmbench.catalog import PARAMETER_ALIASES, PARAMETERS


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts; stands in the metadata of its type, for the configuration reference."""

    name: str


Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), Unit("s")]
SecondsFromZero = Annotated[Number, Unit("s")]
TokenCount = Annotated[Count, Unit("tokens")]
Usd = Annotated[Number, Unit("USD")]
UsdPerMillion = Annotated[Number, Unit("USD per million tokens")]


def as_list(value: object) -> object:
    """A single word as a list of one."""
    return [value] if isinstance(value, str) else value


def _date_as_text(value: object) -> object:
    return value.isoformat() if isinstance(value, date) else value


#: The JSON types name what may stand in the file, before a single word becomes a list.
Names = Annotated[list[StrictStr], BeforeValidator(as_list, json_schema_input_type=str | list[str])]
#: Parameters of calls. A wrong name is found by the linter, and in an editor by the enumeration.
Options = Annotated[
    dict[StrictStr, Any],
    Field(json_schema_extra={"propertyNames": {"enum": [*PARAMETERS, *PARAMETER_ALIASES, "extra_body"]}}),
]
#: YAML reads an unquoted 2024-10-21 as a date; API versions and dates of prices are texts here.
DatedText = Annotated[StrictStr, BeforeValidator(_date_as_text)]
#: Keys that have the form of a variable's name: hexadecimal ones (Azure's older keys have 32 digits), and
#: long ones of capital and small letters and digits. As JSON Schema; `_refuse_key` says the same.
_LIKE_A_KEY: Final[dict[str, Any]] = {
    "type": "string",
    "anyOf": [
        {"pattern": "^[0-9A-Fa-f]{32,}$"},
        {"minLength": 41, "allOf": [{"pattern": "[a-z]"}, {"pattern": "[A-Z]"}, {"pattern": "[0-9]"}]},
    ],
}


def _refuse_key(name: str) -> str:
    is_mixed = len(name) > 40 and all(re.search(kind, name) for kind in ("[a-z]", "[A-Z]", "[0-9]"))
    if is_mixed or re.fullmatch("[0-9A-Fa-f]{32,}", name):
        message = "give the name of an environment variable; a key must not stand in a file"
        raise PydanticCustomError("key_as_name", message)
    return name


#: A name of an environment variable. A key pasted in its place is refused, and not repeated.
VariableName = Annotated[
    StrictStr,
    Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$", json_schema_extra={"not": _LIKE_A_KEY}),
    AfterValidator(_refuse_key),
]
VariableNames = Annotated[
    list[VariableName],
    BeforeValidator(as_list, json_schema_input_type=VariableName | list[VariableName]),
]
HeaderText = Annotated[StrictStr, Field(pattern=r"^[\x20-\x7e]*$")]


def _size(value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf:
        return value
    message = "must be a number above 0, of MiB, such as 64; without the key the file is never rotated"
    raise PydanticCustomError("no_size", message)


#: A size of a file. `true` and `"64"` are none, though pydantic would read them as numbers.
MebiBytes = Annotated[
    float,
    BeforeValidator(_size, json_schema_input_type=Annotated[float, Field(gt=0, allow_inf_nan=False)]),
    Unit("MiB"),
]
