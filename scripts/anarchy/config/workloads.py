"""What is asked of a system: prompts, answers and how alike prompts are."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from anarchy.config.values import MOST_USERS, Name, Strict, Tokens

KNEE_WORKLOAD = "unique"
"""The workload that knees are known under: with prompts that repeat, prefill hardly saturates, and nothing is
said to lie past a knee."""


class Workload(Strict):
    """What one request looks like."""

    name: Name
    title: str
    input_tokens: Tokens
    output_tokens: Tokens
    """Mean output length."""
    output_jitter: Annotated[float, Field(strict=True, ge=0, lt=1)]
    """Output lengths are uniform within this share of the mean, so that users do not march in step."""
    templates: Annotated[int, Field(strict=True, ge=0, le=MOST_USERS)]
    """Number of distinct prompts; 0 makes every prompt unique."""
    skew: Annotated[float, Field(strict=True, ge=0, le=100)] = 0.0
    """Zipf exponent of the templates' popularity: template i = 0, 1, ... has weight 1 / (i + 1)^skew."""

    @model_validator(mode="after")
    def _skew_has_something_to_skew(self) -> Workload:
        if self.skew > 0 and self.templates < 2:
            raise ValueError(
                f"skew {self.skew:g} needs templates to be unequally popular: there are {self.templates}; "
                "give at least 2, or leave skew out"
            )
        return self
