"""What is asked of a system: prompts, answers and how alike prompts are."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from anarchy.config.values import MOST_TOKENS, MOST_USERS, Name, Seconds, Strict, Tokens, refusal
from anarchy.engines.spec import BLOCK_SIZE

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
LEAST_OWN: Final = 5
"""Tokens of its own that a KV block needs, so that no other prompt has it by chance (`load/workload.py`)."""


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
    unique_tail_tokens: Annotated[int, Field(strict=True, ge=0, le=MOST_TOKENS)] = 0
    """Tokens at the end of a template's prompt that are each request's own; `input_tokens` counts them.
    What comes before, the head, is shared as far as it fills KV blocks of 16 tokens. 0: all is shared."""
    synchrony: Synchrony = SPREAD
    """How far users keep apart."""
    think_s: Seconds = 0.0
    """Mean of the exponential time that a user waits after an answer before it sends again, model s; 0: none.
    C then counts users, of whom fewer have a request in flight."""
    send_every_s: Seconds = 0.0
    """Open loop: mean of the exponential time between two requests of a user, who sends whether or not the
    last one was answered, model s; 0: a closed loop. C users then send C / send_every_s requests a second,
    as a Poisson process, and nothing bounds those in flight."""

    @model_validator(mode="after")
    def _skew_has_something_to_skew(self) -> Workload:
        if self.skew > 0 and self.templates < 2:
            raise ValueError(
                f"skew {self.skew:g} needs templates to be unequally popular: there are {self.templates}; "
                "give at least 2, or leave skew out"
            )
        return self

    @model_validator(mode="after")
    def _unique_prompts_differ(self) -> Workload:
        if not self.templates and self.input_tokens < LEAST_OWN:
            raise refusal(
                f"prompts of {self.input_tokens} tokens are to be unique and would be alike by chance",
                f"set input_tokens to at least {LEAST_OWN}, or templates to at least 1",
            )
        return self

    @model_validator(mode="after")
    def _a_tail_has_a_head_to_differ_after(self) -> Workload:
        tail, head = self.unique_tail_tokens, self.input_tokens - self.unique_tail_tokens
        if not tail:
            return self
        if not self.templates:
            raise refusal(
                f"unique_tail_tokens {tail} needs templates whose head is shared, and every prompt is unique",
                "set templates to at least 1, or leave unique_tail_tokens out",
            )
        if head < BLOCK_SIZE:
            raise refusal(
                f"unique_tail_tokens {tail} of {self.input_tokens} leaves a head of {max(head, 0)} tokens, "
                f"which fills no KV block of {BLOCK_SIZE}: nothing would be shared",
                f"set input_tokens to at least {tail + BLOCK_SIZE}, or unique_tail_tokens lower, or "
                "templates to 0",
            )
        in_block = min(tail, BLOCK_SIZE - head % BLOCK_SIZE)
        if in_block < LEAST_OWN:
            raise refusal(
                f"unique_tail_tokens {tail} of {self.input_tokens}: the first KV block that is not shared "
                f"holds {in_block} of them, so few that prompts would have it in common by chance",
                f"set it to {self.new_tokens}, so that the head ends with a block of {BLOCK_SIZE}, or let "
                f"that block hold {LEAST_OWN} or more",
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

    @model_validator(mode="after")
    def _one_loop(self) -> Workload:
        if not self.send_every_s:
            return self
        if self.think_s:
            raise refusal(
                f"send_every_s {self.send_every_s:g} and think_s {self.think_s:g}: who sends by itself waits "
                "for no answer to think about",
                "leave one of the two out",
            )
        if self.synchrony != SPREAD:
            raise refusal(
                f"send_every_s {self.send_every_s:g} and synchrony {self.synchrony}: requests that come by "
                "themselves have no users to march in step",
                f"set synchrony to {SPREAD}, or leave send_every_s out",
            )
        return self

    @property
    def output_slack(self) -> int:
        """Tokens by which an output may be longer or shorter, beside its jitter."""
        return 1 if self.synchrony == "one-token" else 0

    @property
    def new_tokens(self) -> int:
        """Tokens of a prompt that no cache knows, once each template has been sent; its last block aside."""
        if not self.templates:
            return self.input_tokens
        head = self.input_tokens - self.unique_tail_tokens
        return self.input_tokens - head // BLOCK_SIZE * BLOCK_SIZE if self.unique_tail_tokens else 0

    @property
    def starts_together(self) -> bool:
        """Whether all users start at once."""
        return self.synchrony == "in-step"
