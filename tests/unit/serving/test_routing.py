from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from anarchy.engines.spec import RoutingPolicy
from anarchy.serving.frontend_api import active_decode_blocks, completion_body, instance_id_of
from anarchy.serving.health import PORT_TAKEN_MARK, LogWatch, fatal_lines
from anarchy.serving.selftest import (
    ALPHA,
    PolicyCheck,
    choice_probabilities,
    contrast_policies,
    fit_p_value,
)


def test_two_workers_do_not_care_how_large_the_gap_is() -> None:
    for gap in (1.0, 1e6):
        chance = choice_probabilities([10.0, 10.0 + gap], 0.7)
        assert chance[1] == pytest.approx(1 / (1 + math.exp(1 / 0.7)))
    assert choice_probabilities([0, 5], 1.0)[1] == pytest.approx(0.2689, abs=1e-4)


def test_argmin_shares_ties_and_equal_costs_are_uniform() -> None:
    assert choice_probabilities([3, 1, 1, 2], 0.0).tolist() == [0, 0.5, 0.5, 0]
    assert choice_probabilities([4, 4, 4, 4], 0.0).tolist() == [0.25] * 4
    assert choice_probabilities([4, 4, 4, 4], 0.8).tolist() == [0.25] * 4


def test_softmax_over_normalised_costs() -> None:
    costs, tau = [1.0, 17.0, 33.0, 49.0, 65.0], 0.7
    weights = [math.exp(-step / 4 / tau) for step in range(5)]
    assert choice_probabilities(costs, tau) == pytest.approx([w / sum(weights) for w in weights])


@pytest.mark.parametrize(
    ("costs", "tau"), [([], 1), ([1, float("nan")], 1), ([1, 2], -1), ([1, 2], float("nan"))]
)
def test_nonsense_costs_are_refused(costs: list[float], tau: float) -> None:
    with pytest.raises(ValueError, match="must"):
        choice_probabilities(costs, tau)


def test_fit_p_value_is_uniform_or_conservative_under_the_prediction() -> None:
    rng = np.random.default_rng(1)
    for costs, tau in (([1, 17], 0.7), ([1, 17, 33, 49, 65], 0.7), ([1, 17, 33, 49, 65], 0.1)):
        chance = choice_probabilities(costs, tau).tolist()
        p_values = [fit_p_value(rng.multinomial(400, chance).tolist(), chance) for _ in range(400)]
        assert np.mean(np.asarray(p_values) < 0.05) < 0.09


def test_fit_p_value_is_exact_for_argmin() -> None:
    assert fit_p_value((0, 400, 0), (0, 1, 0)) == 1.0
    assert fit_p_value((1, 399, 0), (0, 1, 0)) == 0.0


def test_fit_p_value_is_told_where_every_worker_expects_few() -> None:
    even = [1.0 / 11.0] * 11
    assert fit_p_value([32, *[0] * 10], even) < 1e-9
    assert fit_p_value([3] * 10 + [2], even) > 0.9
    assert fit_p_value([8, *[3] * 8, 0], [*[1.0 / 9.0] * 9, 0.0]) > 0.01
    assert fit_p_value([8, *[3] * 8, 1], [*[1.0 / 9.0] * 9, 0.0]) == 0.0


@pytest.mark.parametrize("counts", [(180, 215, 3, 2), (200, 197, 0, 3), (100, 300, 0, 0), (260, 128, 9, 3)])
def test_fit_p_value_is_that_of_the_textbook_tests(counts: tuple[int, ...]) -> None:
    chance = (0.5, 0.492, 0.004, 0.004)
    rare = stats.binomtest(sum(counts[2:]), sum(counts), 0.008, alternative="greater").pvalue
    common = np.asarray(counts[:2])
    fit = stats.chisquare(common, common.sum() * np.asarray(chance[:2]) / 0.992).pvalue
    assert fit_p_value(counts, chance) == pytest.approx(min(1.0, 2 * min(rare, fit)), rel=1e-9)


def test_fit_p_value_sees_the_wrong_temperature() -> None:
    rng = random.Random(3)
    costs = [1, 17]
    drawn = Counter(rng.choices((0, 1), choice_probabilities(costs, 1.0).tolist(), k=400))
    counts = (drawn[0], drawn[1])
    assert fit_p_value(counts, choice_probabilities(costs, 1.0).tolist()) > ALPHA
    assert fit_p_value(counts, choice_probabilities(costs, 0.3).tolist()) < ALPHA


def check(p_value: float, p_value_dispatched: float, p_value_contrast: float) -> PolicyCheck:
    return PolicyCheck(
        "p", 0, 1, 1, (1, 2), (1, 0), (9, 0), (9, 0), p_value, p_value_dispatched, p_value_contrast
    )


def test_a_policy_is_ok_when_it_fits_and_could_have_failed() -> None:
    assert check(0.5, 0.5, 0.0).ok
    assert not check(0.0, 0.5, 0.0).ok
    assert not check(0.5, 0.0, 0.0).ok
    assert not check(0.5, 0.5, 0.5).ok


def test_contrasts_are_the_temperatures_that_no_policy_has() -> None:
    argmin, soft, softest = (RoutingPolicy(f"t{tau}", tau, 1) for tau in (0.0, 0.7, 1.0))
    assert [policy.tau for policy in contrast_policies([argmin])] == [1.0]
    assert [policy.tau for policy in contrast_policies([soft])] == [0.0]
    assert [policy.tau for policy in contrast_policies([argmin, soft])] == [1.0]
    assert contrast_policies([argmin, softest]) == ()


def test_the_largest_instance_id_survives() -> None:
    assert completion_body("m", [5], 1, decode_worker=2**64 - 1)["nvext"]["decode_worker_id"] == 2**64 - 1


METRICS = """\
# TYPE dynamo_component_uptime_seconds gauge
dynamo_component_uptime_seconds{worker_id="68cf0daf08950df4"} 32.9
dynamo_frontend_worker_active_decode_blocks{dp_rank="0",worker_id="51946",worker_type="decode"} 32
dynamo_frontend_worker_active_decode_blocks{dp_rank="0",worker_id="9652",worker_type="prefill"} 4
"""


def test_metrics_are_read() -> None:
    assert instance_id_of(METRICS) == 0x68CF0DAF08950DF4
    assert instance_id_of("") is None
    assert active_decode_blocks(METRICS) == {51946: 32.0}


def test_lost_discovery_is_found_once_and_whole(tmp_path: Path) -> None:
    log = tmp_path / "decode-0.log"
    watch = LogWatch({"decode-0": log, "frontend": tmp_path / "none.log"})
    assert watch.lost() == ()
    log.write_text("a line\n2026 ERROR FileStore::keep_alive fai")
    assert watch.lost() == ()
    with log.open("a") as file:
        file.write("led opening owned file\nanother\n")
    assert watch.lost() == (("decode-0", "2026 ERROR FileStore::keep_alive failed opening owned file"),)
    assert watch.lost() == ()


def test_a_taken_port_is_found(tmp_path: Path) -> None:
    log = tmp_path / "decode-0.log"
    log.write_text("zmq.error.ZMQError: Address already in use (addr='tcp://198.51.100.7:20123')\n")
    ((name, line),) = LogWatch({"decode-0": log}).lost()
    assert name == "decode-0"
    assert PORT_TAKEN_MARK in line


def test_a_worker_that_a_frontend_drops_is_lost() -> None:
    dropped = "WARN sequences: Removing worker WorkerWithDpRank { worker_id: 1, dp_rank: 0 }"
    assert fatal_lines(["WARN sequences: Adding worker WorkerWithDpRank", dropped]) == [dropped]
