"""Does a policy take effect on the virtual clock? Known loads on the workers, choices against theory.

The prediction is that of the live self-test (`serving.selftest`): a softmax over the workers' scaled costs.
One request is held on one decode worker while others pass one by one, so that tau alone decides how many join
it. With several prefill workers and tau 0 one prompt is sent again and again: with omega above 0 all go where
its blocks lie, with omega 0 any worker is as good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy import stats

from anarchy.engines.spec import BLOCK_SIZE
from anarchy.ground.files import disk_errors
from anarchy.serving.selftest import ALPHA, choice_probabilities, contrast_tau, fit_p_value
from anarchy.virtual.replayer import Job, Replayer

PASSING: Final = 400
"""Requests that pass while one is held."""
REPEATED: Final = 60
"""Times that one prompt is sent again."""
PROMPT_TOKENS: Final = 128
LONG_TOKENS: Final = 1024
HELD_TOKENS: Final = 12_000
"""Output tokens of the held request: it outlasts those that pass."""
UNTIL_S: Final = 3600.0
Row = dict[str, Any]


def prove(
    replayer: Replayer,
    policies: Sequence[tuple[str, Mapping[str, Any] | None, float | None, float | None]],
    engines: tuple[Mapping[str, Any], Mapping[str, Any]],
    pools: tuple[int, int],
) -> dict[str, dict[str, Any]]:
    """The routing test of each policy by its name, as manifests hold it.

    A policy is its name, arguments of its router (None is round robin), tau and omega. Raises as
    `Replayer.run`. With one decode and one prefill worker there is nothing to choose, and the test says so.
    """
    if max(pools) < 2:
        return {name: {"reason": "one worker in each pool: nothing to choose"} for name, *_ in policies}
    tests = _Tests(replayer, engines, pools)
    found: dict[str, Row] = {}
    for name, router, tau, omega in policies:
        if router is None:
            checks = [tests.turns(name)]
        else:
            checks = [tests.decode(name, router)] if pools[1] > 1 else []
            checks += (
                [tests.prefill(name, router)] if pools[0] > 1 and router["router_temperature"] == 0 else []
            )
        if not checks:
            found[name] = {"reason": "one decode worker, and tau above 0: nothing to tell apart"}
            continue
        found[name] = {
            "ok": all(check["ok"] for check in checks),
            "p_value": min(check["p_value"] for check in checks),
            "omega": _omega_words(pools, tau, omega),
            "checks": checks,
        }
    return found


def _omega_words(pools: tuple[int, int], tau: float | None, omega: float | None) -> str:
    if omega is None:
        return "none: round robin"
    if pools[0] < 2:
        return (
            "recorded, not tested: one prefill worker, and inert on the decode choice of the built-in router"
        )
    return "tested on the prefill choice" if tau == 0 else "recorded, tested with tau 0 alone"


class _Tests:
    """The replays behind a proof."""

    def __init__(
        self, replayer: Replayer, engines: tuple[Mapping[str, Any], Mapping[str, Any]], pools: tuple[int, int]
    ) -> None:
        self.replayer, self.engines, self.pools = replayer, engines, pools

    def decode(self, policy: str, router: Mapping[str, Any]) -> Row:
        """Whether tau takes effect on the decode choice: of m workers one is loaded, the others are idle."""
        m, tau = self.pools[1], float(router["router_temperature"])
        held, workers = self._held(router)
        drawn = [int(np.count_nonzero(workers == held)), int(np.count_nonzero(workers != held))]
        predicted, contrast = (self._shares(m, t) for t in (tau, contrast_tau(tau)))
        p_value, p_contrast = fit_p_value(drawn, predicted), fit_p_value(drawn, contrast)
        return {
            "policy": policy,
            "choice": "decode",
            "predicted": predicted,
            "drawn": drawn,
            "p_value": p_value,
            "p_value_contrast": p_contrast,
            "ok": p_value >= ALPHA and p_contrast < ALPHA,
        }

    @staticmethod
    def _shares(m: int, tau: float) -> list[float]:
        """Chance of the loaded worker, and of the idle ones together."""
        loaded = float(choice_probabilities([1.0, *[0.0] * (m - 1)], tau)[0])
        return [loaded, 1.0 - loaded]

    def prefill(self, policy: str, router: Mapping[str, Any]) -> Row:
        """Whether omega takes effect on the prefill choice: one prompt again and again, with tau 0."""
        omega = float(router["prefill_load_scale"])
        ids = list(range(LONG_TOKENS // BLOCK_SIZE))
        row = {"session_id": "0", "input_length": LONG_TOKENS, "output_length": 2, "hash_ids": ids}
        columns = self._replay([{**row, "timestamp": 0}, *[{**row, "delay": 1.0}] * REPEATED], router)
        workers = columns["prefill_worker_idx"][np.argsort(columns["turn_index"])]
        same = int(np.count_nonzero(workers[1:] == workers[0]))
        chance = 1.0 / self.pools[0]
        by_chance = float(stats.binom.sf(same - 1, REPEATED, chance))
        # With omega 0 any worker is as good; else all go to the one that has the blocks.
        p_value = by_chance if omega == 0 else float(same == REPEATED)
        return {
            "policy": policy,
            "choice": "prefill",
            "predicted": [chance if omega == 0 else 1.0, 1.0 - chance if omega == 0 else 0.0],
            "drawn": [same, REPEATED - same],
            "p_value": p_value,
            "p_value_contrast": by_chance if omega else float(same < REPEATED),
            "ok": p_value >= ALPHA,
        }

    def turns(self, policy: str) -> Row:
        """Whether each worker has its turn, whatever is held."""
        _, workers = self._held(None)
        counts = np.bincount(workers, minlength=self.pools[1])
        even = int(counts.max() - counts.min()) <= 1
        return {
            "policy": policy,
            "choice": "decode",
            "predicted": [1.0 / self.pools[1]] * self.pools[1],
            "drawn": [int(count) for count in counts],
            "p_value": float(even),
            "ok": even,
        }

    def _held(self, router: Mapping[str, Any] | None) -> tuple[int, np.ndarray[Any, Any]]:
        """The decode worker of a request that is held, and those of the requests that pass meanwhile."""
        blocks = PROMPT_TOKENS // BLOCK_SIZE
        ids = [list(range(i * blocks, (i + 1) * blocks)) for i in range(PASSING + 1)]
        shape = {"input_length": PROMPT_TOKENS}
        rows = [
            {"session_id": "0", "timestamp": 0, **shape, "output_length": HELD_TOKENS, "hash_ids": ids[0]}
        ]
        for i in range(PASSING):
            when = {"delay": 1.0} if i else {"timestamp": 1000.0}
            rows.append({"session_id": "1", **when, **shape, "output_length": 2, "hash_ids": ids[i + 1]})
        columns = self._replay(rows, router)
        passing = columns["user"] == 1
        until = columns["terminal_time_ms"][~passing].max()
        passing &= columns["arrival_time_ms"] < until
        return int(columns["decode_worker_idx"][columns["user"] == 0][0]), columns["decode_worker_idx"][
            passing
        ]

    def _replay(self, rows: Sequence[Row], router: Mapping[str, Any] | None) -> Mapping[str, Any]:
        trace: Path = self.replayer.folder / "proof.jsonl"
        with disk_errors(trace):
            trace.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        job = Job(
            trace=trace,
            prefill=self.engines[0],
            decode=self.engines[1],
            router=router,
            prefill_workers=self.pools[0],
            decode_workers=self.pools[1],
            until_s=UNTIL_S,
        )
        return self.replayer.run(job).columns
