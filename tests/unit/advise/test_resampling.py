"""Traces made of a trace's stretches: as long, of its own requests; no cache knows a stretch from before."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from anarchy.advise.resampling import resampled, span_s
from anarchy.ground.errors import UserError
from anarchy.virtual.arrivals import Arrivals


def trace(count: int = 400, seed: int = 1) -> Arrivals:
    """Requests of two blocks: the first is one of three that all know, the second its own."""
    rng = np.random.default_rng(seed)
    heads = rng.integers(3, size=count)
    return Arrivals(
        at_s=np.sort(rng.uniform(5.0, 105.0, count)),
        input_tokens=np.full(count, 32),
        output_tokens=np.arange(1, count + 1),
        hashes=np.column_stack([heads, np.arange(3, count + 3)]).ravel(),
        block_size=16,
    )


def test_a_resampled_trace_is_made_of_stretches_in_their_own_order() -> None:
    original = trace()
    made = resampled(original, seed=7, stretches=20)
    length = span_s(original) / 20
    which = made.output_tokens - 1
    source = original.at_s[which] - original.at_s[0]
    assert np.unique(which).size < len(made), "some stretch is drawn twice"
    # Every request lies at the same place of a stretch as it did, and stretches come whole.
    moved = (made.at_s - source) / length
    assert moved == pytest.approx(np.round(moved), abs=1e-9)
    of = source // length
    place = of + np.round(moved)
    for stretch in np.unique(place):
        assert np.unique(of[place == stretch]).size == 1
        (drawn,) = np.unique(of[place == stretch])
        assert (
            which[place == stretch].tolist()
            == np.flatnonzero((original.at_s - original.at_s[0]) // length == drawn).tolist()
        )
    assert made.at_s.max() <= span_s(original)


def test_the_seed_alone_decides() -> None:
    one, same, other = (resampled(trace(), seed) for seed in (3, 3, 4))
    assert np.array_equal(one.at_s, same.at_s)
    assert np.array_equal(one.hashes, same.hashes)
    assert not np.array_equal(one.output_tokens[:50], other.output_tokens[:50])


def test_own_blocks_never_repeat_and_those_that_all_know_stay() -> None:
    made = resampled(trace(), seed=7)
    heads, own = made.hashes[::2], made.hashes[1::2]
    assert set(heads.tolist()) == {0, 1, 2}
    assert len(np.unique(own)) == len(own)


def test_what_is_shared_within_a_stretch_stays_shared_there_alone() -> None:
    """Ten requests of one conversation within a stretch, and the stretch drawn again and again."""
    count = 40
    arrivals = Arrivals(
        at_s=np.arange(count) / 10.0,
        input_tokens=np.full(count, 16),
        output_tokens=np.full(count, 1),
        hashes=np.arange(count) // 10,
        block_size=16,
    )
    made = resampled(arrivals, seed=1, stretches=4)
    times = np.unique(made.hashes, return_counts=True)[1]
    assert times.tolist() == [10] * 4


def burst(count: int, last_s: float = 10.0) -> Arrivals:
    """So many requests at once, and one later."""
    return Arrivals(
        at_s=np.r_[np.zeros(count), last_s],
        input_tokens=np.full(count + 1, 16),
        output_tokens=np.arange(1, count + 2),
        hashes=np.arange(count + 1),
        block_size=16,
    )


@pytest.mark.parametrize("count", [1, 2, 50])
def test_rates_have_a_span_however_few_bursts_requests_came_in(count: int) -> None:
    for seed in range(60):
        made = resampled(burst(count), seed)
        assert len(made) >= 2
        assert span_s(made) > 0.0
        assert (np.diff(made.at_s) >= 0.0).all()


def test_a_draw_that_does_not_do_is_not_replaced_by_the_next_seeds() -> None:
    """Or two replications were one, and an interval over them too narrow."""
    told = [tuple(resampled(burst(1), seed).at_s.tolist()) for seed in range(40)]
    assert all(one != other for one, other in itertools.pairwise(told))
    again = resampled(burst(1), 3)
    assert again.at_s.tolist() == list(told[3])


def test_what_can_be_drawn_at_once_is_drawn_as_ever() -> None:
    """Advice that was given stands: numbers of a usual trace do not change."""
    which = np.random.default_rng(11).integers(20, size=20)
    original = trace()
    of = ((original.at_s - original.at_s[0]) // (span_s(original) / 20)).astype(int)
    expected = np.concatenate([np.flatnonzero(of == one) for one in which])
    assert (resampled(original, seed=11).output_tokens - 1).tolist() == expected.tolist()


@pytest.mark.parametrize("stretches", [1, 20])
def test_requests_that_all_come_at_once_are_refused(stretches: int) -> None:
    with pytest.raises(UserError, match="121 requests that come at one time") as caught:
        resampled(burst(120, last_s=0.0), 0, stretches)
    assert "longer part" in caught.value.remedy


def test_the_spread_of_resampled_rates_is_that_of_other_traces() -> None:
    """The bootstrap's promise: counts of resampled traces vary as those of traces drawn anew do."""
    rng = np.random.default_rng(3)

    def bursty() -> Arrivals:
        """One in five seconds is a burst."""
        rates = np.where(rng.random(200) < 0.2, 20, 2)
        at = np.sort(np.concatenate([second + rng.random(rng.poisson(r)) for second, r in enumerate(rates)]))
        return Arrivals(
            at, np.full(len(at), 16), np.full(len(at), 1), np.arange(len(at)), block_size=16
        )  # fmt: skip

    anew = np.std([len(bursty()) for _ in range(200)])
    again = np.mean(
        [np.std([len(resampled(one, s)) for s in range(40)]) for one in (bursty() for _ in range(10))]
    )
    assert again == pytest.approx(anew, rel=0.3)
