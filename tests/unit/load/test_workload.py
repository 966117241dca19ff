"""The workload is a pure function of seed, user and request number, and has the shape it promises."""

from __future__ import annotations

import dataclasses
import math
import random
import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from anarchy.config import Workload as Planned
from anarchy.config.workloads import LEAST_OWN
from anarchy.engines.spec import BLOCK_SIZE
from anarchy.ground.errors import UserError
from anarchy.load.workload import BLOCK_TOKENS, UNIQUE_PROMPT, Workload, WorkloadSpec
from tests.helpers.places import PROJECT

PINNED_UNIQUE = ((29824, 24043, 29782, 5322), 64, -1)
PINNED_TEMPLATE = ((20889, 24888, 1587, 28010), 64, 0)
PINNED_TAIL = (1340, 7397, 6579)
PINNED_THINKING = [0.897872, 0.073943, 0.830724, 0.128959]


def test_content_does_not_depend_on_the_order_of_asking() -> None:
    coordinates = [(user, k) for user in range(5) for k in range(20)]
    first = {at: Workload(WorkloadSpec(), seed=7).request(*at) for at in coordinates}
    workload = Workload(WorkloadSpec(), seed=7)
    shuffled = random.Random(0).sample(coordinates, len(coordinates))
    assert {at: workload.request(*at) for at in shuffled} == first


def test_content_is_the_same_in_another_process() -> None:
    code = "from anarchy.load.workload import *; print(Workload(WorkloadSpec(), 7).request(3, 4))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert there.strip() == str(Workload(WorkloadSpec(), 7).request(3, 4))


def test_content_is_pinned() -> None:
    """A change of the stream would silently change every recorded experiment."""
    request = Workload(WorkloadSpec(), 7).request(3, 4)
    assert (request.prompt[:4], request.output_tokens, request.template) == PINNED_UNIQUE
    request = Workload(WorkloadSpec(templates=5), 7).request(3, 4)
    assert (request.prompt[:4], request.output_tokens, request.template) == PINNED_TEMPLATE


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**63),
    user=st.integers(0, 10**4),
    k=st.integers(0, 10**6),
    templates=st.integers(0, 9),
)
def test_every_request_keeps_to_its_spec(seed: int, user: int, k: int, templates: int) -> None:
    spec = WorkloadSpec(templates=templates)
    request = Workload(spec, seed).request(user, k)
    assert len(request.prompt) == spec.input_tokens
    assert all(spec.token_low <= token < spec.token_high for token in request.prompt)
    assert 45 <= request.output_tokens <= 83
    assert request.template == UNIQUE_PROMPT if templates == 0 else 0 <= request.template < templates


def test_unique_prompts_differ_in_their_first_block_also_across_seeds() -> None:
    blocks = [
        Workload(WorkloadSpec(), seed).request(user, k).prompt[:16]
        for seed in range(3)
        for user in range(40)
        for k in range(40)
    ]
    assert len(set(blocks)) == len(blocks)
    starts = {block[0] for block in blocks}
    assert len(starts) > 0.9 * len(blocks), "no shared beginning"


def test_templates_are_k_prompts_equally_likely() -> None:
    workload = Workload(WorkloadSpec(templates=5), 1)
    requests = [workload.request(user, k) for user in range(50) for k in range(40)]
    assert len({request.prompt for request in requests}) == 5
    assert len({(request.template, request.prompt) for request in requests}) == 5
    counts = np.bincount([request.template for request in requests])
    assert counts.min() > 330
    assert counts.max() < 470


def test_without_skew_every_template_is_the_one_it_was() -> None:
    """So that traces of before skew was there are those of skew 0."""
    even = Workload(WorkloadSpec(templates=5, skew=0.0), 7)
    assert [even.request(3, k).template for k in range(12)] == [0, 2, 1, 0, 0, 2, 3, 1, 0, 3, 0, 3]


@pytest.mark.parametrize("skew", [0.5, 1.0, 2.0])
def test_skewed_templates_follow_zipf(skew: float) -> None:
    workload = Workload(WorkloadSpec(templates=5, skew=skew), 1)
    templates = [workload.request(user, k).template for user in range(100) for k in range(50)]
    weights = np.arange(1, 6) ** -skew
    expected = 5000 * weights / weights.sum()
    counts = np.bincount(templates, minlength=5)
    assert ((counts - expected) ** 2 / expected).sum() < 18.5, "chi-squared, 4 degrees: 99.9 % is 18.5"


def test_the_page_says_which_skew_makes_which_share_hot() -> None:
    page = (PROJECT / "docs" / "extending.md").read_text(encoding="utf-8")
    head, *rows = re.findall(r"^\| (skew for a share of|\d+ templates) \| (.*) \|$", page, re.MULTILINE)
    shares = [float(word.strip(" %")) / 100 for word in head[1].split("|")]
    assert len(rows) == 4
    for label, cells in rows:
        templates = int(label.split()[0])
        for skew, share in zip(map(float, cells.split("|")), shares, strict=True):
            workload = Workload(WorkloadSpec(templates=templates, skew=skew), 1)
            hot = np.mean([workload.shape(user, k)[1] == 0 for user in range(40) for k in range(50)])
            assert sum(n**-skew for n in range(1, templates + 1)) ** -1 == pytest.approx(share, abs=0.002)
            assert hot == pytest.approx(share, abs=4 * (share * (1 - share) / 2000) ** 0.5)


def test_skew_changes_neither_prompts_nor_lengths() -> None:
    even = Workload(WorkloadSpec(templates=3), 1)
    skewed = Workload(WorkloadSpec(templates=3, skew=1.0), 1)
    both = [(even.request(0, k), skewed.request(0, k)) for k in range(200)]
    assert {(r.template, r.prompt) for r, _ in both} == {(r.template, r.prompt) for _, r in both}
    assert all(a.output_tokens == b.output_tokens for a, b in both)


def test_an_extreme_skew_leaves_one_template() -> None:
    workload = Workload(WorkloadSpec(templates=4, skew=1e6), 1)
    assert {workload.request(0, k).template for k in range(200)} == {0}


def test_templates_share_their_heads_and_no_tail() -> None:
    whole, tailed = WorkloadSpec(templates=3), WorkloadSpec(templates=3, unique_tail_tokens=40)
    before, after = Workload(whole, 7), Workload(tailed, 7)
    tails = []
    for user in range(10):
        for k in range(10):
            plain, request = before.request(user, k), after.request(user, k)
            assert request.prompt[:88] == plain.prompt[:88], "the head is where the template begins"
            assert (len(request.prompt), request.tail_tokens, plain.tail_tokens) == (128, 40, 0)
            assert (request.template, request.output_tokens) == (plain.template, plain.output_tokens)
            tails.append(request.prompt[88:])
    # The sixth block holds 8 tokens of the head and 8 of the tail: it is nobody else's.
    assert len({tail[:8] for tail in tails}) == len(tails)
    assert after.request(3, 4) == Workload(tailed, 7).request(3, 4)
    assert after.request(3, 4).prompt[-3:] == PINNED_TAIL


def test_a_block_of_the_workload_is_one_of_the_engines() -> None:
    assert BLOCK_TOKENS == BLOCK_SIZE
    spread = math.log2(WorkloadSpec().token_high - WorkloadSpec().token_low)
    assert math.ceil(64 / spread) == LEAST_OWN, "configuration and client refuse the same"


@pytest.mark.parametrize("input_tokens", [128, 130])
def test_configuration_and_client_refuse_the_same_tails(input_tokens: int) -> None:
    given = {"name": "a", "title": "a", "output_tokens": 64, "output_jitter": 0.0, "templates": 2}
    allowed = []
    for tail in range(input_tokens + 2):
        told = {"input_tokens": input_tokens, "unique_tail_tokens": tail}
        try:
            Planned.model_validate({**given, **told})
        except ValidationError:
            with pytest.raises(UserError):
                WorkloadSpec(templates=2, **told)
        else:
            WorkloadSpec(templates=2, **told)
            allowed.append(tail)
    assert 0 in allowed
    assert 16 in allowed or input_tokens == 130
    assert max(allowed) == input_tokens - 16


def test_thinking_is_pinned_by_seed_user_and_request() -> None:
    workload = Workload(WorkloadSpec(think_s=0.5), 7)
    assert [workload.think_s(3, k) for k in range(4)] == PINNED_THINKING
    assert Workload(WorkloadSpec(think_s=1.0), 7).think_s(3, 0) == pytest.approx(
        2 * PINNED_THINKING[0], abs=2e-6
    )
    assert Workload(WorkloadSpec(think_s=0.5), 8).think_s(3, 0) != PINNED_THINKING[0]


def test_thinking_is_exponential_with_its_mean() -> None:
    workload = Workload(WorkloadSpec(think_s=2.0), 1)
    thought = np.array([workload.think_s(user, k) for user in range(100) for k in range(100)])
    assert abs(thought.mean() - 2.0) < 0.08, "four standard errors"
    for times in (0.1, 1.0, 3.0):
        share = np.exp(-times)
        assert abs((thought > 2.0 * times).mean() - share) < 4 * np.sqrt(share * (1 - share) / thought.size)
    steps = np.corrcoef(thought[:-1], thought[1:])[0, 1]
    assert abs(steps) < 0.04, "one draw tells nothing of the next"


def test_thinking_changes_no_request_and_without_it_nobody_waits() -> None:
    for spec in (WorkloadSpec(), WorkloadSpec(templates=5, skew=2.0)):
        plain, thinking = Workload(spec, 7), Workload(dataclasses.replace(spec, think_s=0.5), 7)
        assert [plain.request(3, k) for k in range(9)] == [thinking.request(3, k) for k in range(9)]
        assert {plain.think_s(3, k) for k in range(9)} == {0.0}


def test_output_lengths_are_uniform_and_cover_the_range() -> None:
    workload = Workload(WorkloadSpec(), 1)
    lengths = np.array([workload.request(user, k).output_tokens for user in range(100) for k in range(50)])
    assert (lengths.min(), lengths.max()) == (45, 83)
    assert abs(lengths.mean() - 64) < 0.6
    counts = np.bincount(lengths)[45:]
    expected = 5000 / 39
    assert ((counts - expected) ** 2 / expected).sum() < 70, "chi-squared, 38 degrees: 99.9 % is 70"


@pytest.mark.parametrize(
    ("mean", "jitter", "expected"),
    [(64, 0.3, (45, 83)), (10, 0.3, (7, 13)), (64, 0.0, (64, 64)), (1, 0.9, (1, 1)), (100, 0.29, (71, 129))],
)
def test_output_range(mean: int, jitter: float, expected: tuple[int, int]) -> None:
    assert WorkloadSpec(output_tokens=mean, output_jitter=jitter).output_range == expected


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"input_tokens": 0}, "input_tokens"),
        ({"output_tokens": 0}, "output_tokens"),
        ({"templates": -1}, "templates"),
        ({"output_jitter": 1.0}, "output_jitter"),
        ({"templates": 5, "skew": -0.1}, "skew is -0.1"),
        ({"templates": 5, "skew": float("nan")}, "skew is nan"),
        ({"templates": 5, "skew": float("inf")}, "skew is inf"),
        ({"templates": 0, "skew": 1.0}, "every prompt is unique"),
        ({"templates": 5, "unique_tail_tokens": -1}, "unique_tail_tokens is -1"),
        ({"unique_tail_tokens": 16}, "every prompt is unique"),
        ({"templates": 5, "unique_tail_tokens": 113}, "nothing is shared"),
        ({"templates": 5, "unique_tail_tokens": 4}, "first block"),
        ({"think_s": -0.1}, "think_s is -0.1"),
        ({"think_s": float("nan")}, "think_s is nan"),
        ({"think_s": float("inf")}, "think_s is inf"),
        ({"token_low": 5, "token_high": 5}, "token_high"),
        ({"input_tokens": 2}, "first block"),
        ({"token_low": 0, "token_high": 4}, "first block"),
    ],
)
def test_a_spec_without_sense_is_a_user_error(fields: dict[str, float], key: str) -> None:
    with pytest.raises(UserError, match=key):
        WorkloadSpec(**fields)  # type: ignore[arg-type]
