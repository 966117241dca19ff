"""What is asked of a system: prompts, answers and how alike prompts are."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from anarchy.config.values import MOST_USERS, Name, Seconds, Strict, Tokens

KNEE_WORKLOAD = "unique"
"""The workload that knees are known under: with prompts that repeat, prefill hardly saturates, and nothing is
said to lie past a knee."""


Synchrony = Literal["spread", "one-token", "staggered", "in-step"]
"""How far users keep apart, from far to not at all; all engines know these levels:

- `spread`: output lengths differ by `output_jitter`, and users start one after the other;
- `one-token`: output lengths differ by one token either way, and users start one after the other;
- `staggered`: one output length, and users start one after the other;
- `in-step`: one output length, and all users start at once: an ideal closed loop then marches in step.
"""
SPREAD: Final = "spread"


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
    """Zipf exponent of the templates' popularity: template i = 0, 1, ... has weight 1 / (i + 1)^skew.
    0 makes them equal, a large one makes one hot: 2.66 gives the first of 5 templates 80 % of requests."""
    synchrony: Synchrony = SPREAD
    """How far users keep apart."""
    think_s: Seconds = 0.0
    """Mean of the exponential time that a user waits after an answer before it sends again, model s; 0: none.
    C then counts users, of whom fewer have a request in flight."""

    @model_validator(mode="after")
    def _skew_has_something_to_skew(self) -> Workload:
        if self.skew > 0 and self.templates < 2:
            raise ValueError(
                f"skew {self.skew:g} needs templates to be unequally popular: there are {self.templates}; "
                "give at least 2, or leave skew out"
            )
        return self

    @model_validator(mode="after")
    def _one_source_of_noise(self) -> Workload:
        if self.synchrony != SPREAD and self.output_jitter:
            raise ValueError(
                f"synchrony {self.synchrony} says how lengths differ, and so does output_jitter "
                f"{self.output_jitter:g}; set output_jitter to 0.0"
            )
        return self

    @property
    def output_slack(self) -> int:
        """Tokens by which an output may be longer or shorter, beside its jitter."""
        return 1 if self.synchrony == "one-token" else 0

    @property
    def starts_together(self) -> bool:
        """Whether all users start at once."""
        return self.synchrony == "in-step"
