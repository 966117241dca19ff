"""An advice in words: whoever falls short of what was asked is told so, and no tie hides it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anarchy.advise.advising import Advice, Cost, Request
from anarchy.advise.replays import Objectives, Served
from anarchy.advise.search import Answer, Finalist, Question
from anarchy.advise.settings import Setting
from anarchy.advise.words import document, render
from anarchy.advise.workload import TraceLoad
from anarchy.config.files import load_block
from anarchy.config.limits import Limits
from anarchy.config.systems import Model
from anarchy.engines.profiles import load_profile
from anarchy.ground.layout import CONFIG, PROFILES
from anarchy.virtual.arrivals import Arrivals

BEST, OTHER = Setting(3, 3), Setting(4, 2)
ONE = np.ones(200, dtype=np.int64)


def finalist(setting: Setting, share: float, price: float) -> Finalist:
    quantiles = {0.5: 0.1, 0.9: 0.2, 0.99: 0.4}
    trace = Served(91.0, 91.0, 91.0, 100.0, quantiles, quantiles, 0, 0.1)
    goodput = (100.0 * share, 80.0, 99.0)
    return Finalist(setting, trace, goodput, share, share >= 0.9, (price, 0.9 * price, 1.1 * price))


def advice(advised: Finalist, *finalists: Finalist, now: Finalist | None) -> Advice:
    """An answer to a question with 90 % asked; numbers beside it are of no concern here."""
    model = load_block(CONFIG / "models" / "llama-3.1-70b.yaml", Model)
    arrivals = Arrivals(np.arange(200.0), 16 * ONE, ONE, np.arange(200), 16)
    setting = None if now is None else now.setting
    request = Request(
        load=TraceLoad(arrivals, "mooncake", (Path("trace.jsonl"),), ()),
        model=model,
        gpus=24,
        profile=load_profile(PROFILES / model.profile),
        question=Question(splits=[(3, 3), (4, 2)], taus=(0.0,), omegas=(1.0,), replications=5, now=setting),
        objectives=Objectives(0.5, 0.015, 0.9),
        limits=Limits(),
        deadline_s=60.0,
        seed=0,
        processes=1,
    )
    screened = tuple((one.setting, one.trace) for one in finalists)
    answer = Answer(advised, finalists, screened, (), now)
    return Advice(request, answer, Cost(12, 1.0, 1.0, 1.0), 0.0, {})


def test_what_ties_and_falls_short_is_named_with_its_share() -> None:
    best, now = finalist(BEST, 0.91, 1.0), finalist(OTHER, 0.886, 1.02)
    told = render(advice(best, best, now, now=now))
    assert told.startswith("Best: 3P/3D, tau 0, omega 1.\n")
    assert "Staying at 4P/2D, tau 0, omega 1 costs 1.02" in told
    assert (
        "Tie too, and serve less than the 90 % that --attain asks, so they are not advised: 4P/2D, tau 0, "
        "omega 1 (88.6 %)\n"
    ) in told
    assert "Ties with it" not in told
    assert "nothing that ties reaches it" not in told


def test_advice_that_falls_short_says_so_and_what_it_does_on_the_trace_itself() -> None:
    best, now = finalist(BEST, 0.895, 1.0), finalist(OTHER, 0.886, 1.02)
    told = render(advice(best, best, now, now=now))
    assert (
        "That is less than the 90 % that --attain asks, and nothing that ties reaches it on traces made of "
        "yours; on yours it serves 91.0 %.\n"
    ) in told
    assert "Ties with it (within 1 % or inside the interval): 4P/2D" in told
    assert "so they are not advised" not in told


@pytest.mark.parametrize("runs", [True, False])
def test_advice_that_has_not_the_most_goodput_says_who_has(runs: bool) -> None:
    best, other = finalist(BEST, 0.93, 1.0), finalist(OTHER, 0.92, 1.02)
    told = render(advice(other, best, other, now=other if runs else None))
    verb = "Stay at" if runs else "Take"
    assert told.startswith(f"{verb} 4P/2D, tau 0, omega 1: nothing that was tried is shown to be better.\n")
    assert (
        "The most goodput has 3P/3D, tau 0, omega 1: 1.02 [0.92, 1.12] times as much, which may be a tie."
        in told
    )
    assert "Staying" not in told


def test_the_document_says_of_each_setting_whether_it_attains() -> None:
    best, now = finalist(BEST, 0.91, 1.0), finalist(OTHER, 0.886, 1.02)
    told = document(advice(best, best, now, now=now))
    assert told["advice"]["attained"] is True
    assert told["now"]["attained"] is False
    assert [one["attained"] for one in told["ties"]] == [False]
    assert [one["attained"] for one in told["finalists"]] == [True, False]
