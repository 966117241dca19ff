"""Blocks of several kinds: which model a mapping is read by is told by one key of it.

They are pydantic's discriminated unions, over kinds that are found (`ground.plugins`): a new kind is a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Discriminator, GetJsonSchemaHandler, Tag
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from anarchy.config.values import refusal

_MARK = "<{}>"
"""How a kind stands in the place of an error, so that it is not taken for a key."""


def union(key: str, kinds: Mapping[str, type[BaseModel]], default: str = "") -> Any:
    """The type of a block that is one of ``kinds``, told by ``key``; without the key it is ``default``."""

    def kind_of(value: Any) -> str:
        kind = value.get(key, default) if isinstance(value, Mapping) else getattr(value, key, default)
        return _MARK.format(kind)

    def known(value: Any) -> Any:
        kind = value.get(key, default) if isinstance(value, Mapping) else None
        if kind is not None and not (isinstance(kind, str) and kind in kinds):
            what = f"key {key!r}: there is no {kind!r}" if kind else f"key {key!r} is missing"
            raise refusal(what, f"known: {', '.join(kinds)}")
        return value

    tagged = tuple(Annotated[model, Tag(_MARK.format(kind))] for kind, model in kinds.items())
    return Annotated[reduce(or_, tagged), Discriminator(kind_of), BeforeValidator(known), _AnyOf()]


def without_kinds(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place of an error in what was written: without the kinds that pydantic puts into it."""
    return tuple(part for part in location if not (isinstance(part, str) and part[:1] + part[-1:] == "<>"))


class _AnyOf:
    """In schemas any of the kinds: the key may stand one level up, and then several fit."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        resolved = handler.resolve_ref_schema(schema)
        if "oneOf" in resolved:
            resolved["anyOf"] = resolved.pop("oneOf")
            resolved.pop("discriminator", None)
        return schema
