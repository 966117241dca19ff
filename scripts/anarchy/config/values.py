"""Kinds of values that the configuration is made of: names, numbers and lists of names, each checked.

Every number has an upper bound, far beyond what anybody would study and small enough that nothing hangs: a
digit too many is a message that names file and key, not a plan that never comes.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from anarchy.ground.bounded import LARGEST_SEED, MOST_WORKERS

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
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{value!s} stands there twice; name each once")
        seen.add(value)
    return values


def _split(value: Any) -> Any:
    """Accept ``a,b`` from a command line as well as a list; a text without any name is no list."""
    if not isinstance(value, str):
        return value
    names = [part.strip() for part in value.split(",") if part.strip()]
    if not names:
        raise ValueError(f"{value!r} names nothing; leave it out, or name something")
    return names


MOST_ENTRIES: Final = 1000
"""Of any list: a grid of C has 10, all pairs of a Pareto sweep are 16."""
MOST_USERS: Final = 100_000
"""C: a client host has 64,000 ports to one address, and a deployment of 24 GPUs is past its knee at 200."""
MOST_LAUNCHES: Final = 1000
"""Launches, repeats and attempts: three launches give intervals, and each takes a minute and more."""
MOST_TOKENS: Final = 10_000_000
"""Of a prompt or an answer: the longest contexts that are served have some millions."""
MOST_SECONDS: Final = 1e6
"""Of a phase, a stage or a deadline: twelve days."""
LARGEST: Final = 10**9
"""Of every other number."""

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.\-]*$", max_length=64)]
"""A name that is also a wildcard and a folder: lower case letters, digits, dots and dashes. A cell's name is
made of several, and a file system takes 255 characters."""

Where = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]*$", max_length=4096)]
"""A path, as long as Linux takes one."""

PositiveInt = Annotated[int, Field(strict=True, ge=1, le=LARGEST)]
Users = Annotated[int, Field(strict=True, ge=1, le=MOST_USERS)]
Launches = Annotated[int, Field(strict=True, ge=1, le=MOST_LAUNCHES)]
Workers = Annotated[int, Field(strict=True, ge=1, le=MOST_WORKERS)]
Tokens = Annotated[int, Field(strict=True, ge=1, le=MOST_TOKENS)]
Seed = Annotated[int, Field(strict=True, ge=0, le=LARGEST_SEED)]

Positive = Annotated[float, Field(strict=True, gt=0, le=LARGEST, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(strict=True, ge=0, le=LARGEST, allow_inf_nan=False)]
DilationTimes = Annotated[float, Field(strict=True, ge=1, le=50)]
"""How many times a model's own dilation."""
KneeTimes = Annotated[float, Field(strict=True, gt=0, le=1000)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(strict=True, gt=0, le=MOST_SECONDS, allow_inf_nan=False)]

Names = Annotated[tuple[Name, ...], Field(max_length=MOST_ENTRIES), AfterValidator(each_once)]
"""A list of names, each once."""

NameList = Annotated[
    Names,
    BeforeValidator(_split),
    WithJsonSchema(
        {"anyOf": [{"type": "array", "items": {"type": "string"}, "uniqueItems": True}, {"type": "string"}]}
    ),
]
"""Names as a list, or as one text ``a,b``."""
