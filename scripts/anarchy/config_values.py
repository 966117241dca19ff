"""Kinds of values that the configuration is made of: names, numbers and lists of names, each checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

REFUSED = "refused"
"""Type of an error that brings its own remedy; see `refusal`."""


def refusal(what: str, remedy: str) -> PydanticCustomError:
    """What a validator raises to refuse a value and say itself what would be right."""
    return PydanticCustomError(REFUSED, "{what}", {"what": what, "remedy": remedy})


class Strict(BaseModel):
    """Base of every block: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Refuse a list that names something twice: it would be measured twice under one name."""
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!s} stands there twice; name each once")
    return values


def _split(value: Any) -> Any:
    """Accept ``a,b`` from a command line as well as a list."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$")]
"""A name that is also a wildcard and a folder: lower case letters, digits, dots and dashes."""

PositiveInt = Annotated[int, Field(strict=True, ge=1)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Seconds = NonNegative

Names = Annotated[tuple[Name, ...], AfterValidator(each_once)]
"""A list of names, each once."""

NameList = Annotated[
    Names,
    BeforeValidator(_split),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, {"type": "string"}]}
    ),
]
"""Names as a list, or as one text ``a,b``."""
