"""Does a policy take effect on the virtual clock? Known loads on the workers, choices against theory.

The prediction is that of the live self-test (`serving.selftest`): a softmax over the workers' scaled costs.
Requests are held on all decode workers but one while others pass one by one, so that tau alone decides where.
With several prefill workers and tau 0 one prompt is sent again and again: with omega above 0 all go where
its blocks lie, with omega 0 any worker is as good. Late KV events: before they come a prompt that was just
served goes anywhere, afterwards to where its blocks lie.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.special import bdtrc

from anarchy.engines.spec import BLOCK_SIZE
from anarchy.ground.files import disk_errors
from anarchy.serving.selftest import ALPHA, choice_probabilities, contrast_tau, fit_p_value
from anarchy.virtual.replayer import Job, Replayer

PASSING: Final = 400
"""Requests that pass while others are held."""
PLACEMENTS: Final = 4
"""How often held requests are placed anew where their placement tells nothing."""
REPEATED: Final = 60
"""Times that one prompt is sent again."""
PROMPT_TOKENS: Final = 128
LONG_TOKENS: Final = 1024
HELD_TOKENS: Final = 12_000
"""Output tokens of the held request: it outlasts those that pass."""
UNTIL_S: Final = 3600.0
SHORTEST_LAG_S: Final = 0.1
"""A shorter lag of KV events is not tested: it passes while a request is served."""
APART_S: Final = 0.0973
"""Between prompts of the test of late events: no two are under way at once, but for chance."""
KNOWN: Final = 0.8
"""Share of prompts that must be found once their events have come: chance finds at most a half."""
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A policy to prove: arguments of its router (None is round robin), tau and omega, lateness of events."""

    name: str
    router: Mapping[str, Any] | None
    tau: float | None
    omega: float | None
    kv_event_lag_s: float = 0.0


def prove(
    replayer: Replayer,
    policies: Sequence[Asked],
    engines: tuple[Mapping[str, Any], Mapping[str, Any]],
    pools: tuple[int, int],
) -> dict[str, dict[str, Any]]:
    """The routing test of each policy by its name, as manifests hold it.

    Raises as `Replayer.run`. With one decode and one prefill worker there is nothing to choose, and the test
    says so.
    """
    if max(pools) < 2:
        return {one.name: {"reason": "one worker in each pool: nothing to choose"} for one in policies}
    tests = _Tests(replayer, engines, pools)
    found: dict[str, Row] = {}
    for one in policies:
        if one.router is None:
            checks = [tests.turns(one.name)] if pools[1] > 1 else []
        else:
            cache_decides = pools[0] > 1 and one.tau == 0
            asked = [partial(tests.decode, one.name, one.router)] if pools[1] > 1 else []
            asked += [partial(tests.prefill, one.name, one.router)] if cache_decides else []
            if cache_decides and one.omega and one.kv_event_lag_s >= SHORTEST_LAG_S:
                asked.append(partial(tests.late, one.name, one.router, one.kv_event_lag_s))
            checks = [confirmed(check) for check in asked]
        if not checks:
            why = "round robin" if one.router is None else "tau above 0"
            found[one.name] = {"reason": f"one decode worker, and {why}: nothing to tell apart"}
            continue
        found[one.name] = {
            "ok": all(check["ok"] for check in checks),
            "p_value": min(check["p_value"] for check in checks),
            "omega": _omega_words(pools, one.tau, one.omega),
            "checks": checks,
        }
    return found


def confirmed(check: Callable[[], Row]) -> Row:
    """A check, asked again where it fails: by chance one in 10,000 does, and a study has thousands."""
    first = check()
    return first if first["ok"] else check()


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
        """Whether tau takes effect on the decode choice, with known loads on the workers.

        A placement of the held requests that could not tell tau from its contrast is drawn again.
        """
        tau = float(router["router_temperature"])
        for _ in range(PLACEMENTS):
            loads, drawn = self._held(router)
            predicted, contrast = (choice_probabilities(loads, t).tolist() for t in (tau, contrast_tau(tau)))
            p_value, p_contrast = fit_p_value(drawn, predicted), fit_p_value(drawn, contrast)
            if p_value < ALPHA or p_contrast < ALPHA:
                break
        return {
            "policy": policy,
            "choice": "decode",
            "loads": loads,
            "predicted": predicted,
            "drawn": drawn,
            "p_value": p_value,
            "p_value_contrast": p_contrast,
            "ok": p_value >= ALPHA and p_contrast < ALPHA,
        }

    def prefill(self, policy: str, router: Mapping[str, Any]) -> Row:
        """Whether omega takes effect on the prefill choice: one prompt again and again, with tau 0."""
        omega = float(router["prefill_load_scale"])
        ids = list(range(LONG_TOKENS // BLOCK_SIZE))
        row = {"session_id": "0", "input_length": LONG_TOKENS, "output_length": 2, "hash_ids": ids}
        columns = self._replay([{**row, "timestamp": 0}, *[{**row, "delay": 1.0}] * REPEATED], router)
        workers = columns["prefill_worker_idx"][np.argsort(columns["turn_index"])]
        same = int(np.count_nonzero(workers[1:] == workers[0]))
        chance = 1.0 / self.pools[0]
        by_chance = float(bdtrc(same - 1, REPEATED, chance)) if same else 1.0
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

    def late(self, policy: str, router: Mapping[str, Any], lag_s: float) -> Row:
        """Whether KV events are late: half of the prompts come again at half the lag, the others at twice."""
        blocks = PROMPT_TOKENS // BLOCK_SIZE
        rows = [
            self._row(user, when, 2, range(user * blocks, (user + 1) * blocks))
            for user in range(2 * REPEATED)
            for when in (
                {"timestamp": user * APART_S * 1e3},
                {"delay": (2.0 if user % 2 else 0.5) * lag_s * 1e3},
            )
        ]
        columns = self._replay(rows, router, lag_s)
        knew = (columns["reused_input_tokens"] > 0) & (columns["turn_index"] == 1)
        early, after = (int(np.count_nonzero(knew & (columns["user"] % 2 == odd))) for odd in (0, 1))
        chance = 1.0 / self.pools[0]
        # As many early hits as chance gives, or fewer; were events in time, each would be one.
        p_value = float(bdtrc(early - 1, REPEATED, chance)) if early else 1.0
        return {
            "policy": policy,
            "choice": "late events",
            "predicted": [chance, 1.0],
            "drawn": [early, after],
            "of": REPEATED,
            "p_value": p_value,
            "p_value_contrast": float(early == REPEATED),
            "ok": p_value >= ALPHA and after >= KNOWN * REPEATED,
        }

    def turns(self, policy: str) -> Row:
        """Whether each worker has its turn, whatever is held."""
        loads, drawn = self._held(None)
        even = max(drawn) - min(drawn) <= 1
        return {
            "policy": policy,
            "choice": "decode",
            "loads": loads,
            "predicted": [1.0 / self.pools[1]] * self.pools[1],
            "drawn": drawn,
            "p_value": float(even),
            "ok": even,
        }

    def _held(self, router: Mapping[str, Any] | None) -> tuple[list[float], list[int]]:
        """Held requests on each decode worker, and requests that then passed."""
        m = self.pools[1]
        blocks = PROMPT_TOKENS // BLOCK_SIZE
        ids = [list(range(i * blocks, (i + 1) * blocks)) for i in range(PASSING + m - 1)]
        held = [self._row(user, {"timestamp": 0}, HELD_TOKENS, ids[user]) for user in range(m - 1)]
        passing = [
            self._row(m - 1, {"delay": 1.0} if i else {"timestamp": 1000.0}, 2, ids[m - 1 + i])
            for i in range(PASSING)
        ]
        columns = self._replay([*held, *passing], router)
        passed = columns["user"] == m - 1
        until = columns["terminal_time_ms"][~passed].min()
        workers = columns["decode_worker_idx"]
        drawn = np.bincount(workers[passed & (columns["arrival_time_ms"] < until)], minlength=m)
        return np.bincount(workers[~passed], minlength=m).astype(float).tolist(), drawn.tolist()

    @staticmethod
    def _row(user: int, when: Mapping[str, float], output_tokens: int, ids: Sequence[int]) -> Row:
        shape = {"input_length": PROMPT_TOKENS, "output_length": output_tokens, "hash_ids": list(ids)}
        return {"session_id": str(user), **when, **shape}

    def _replay(
        self, rows: Sequence[Row], router: Mapping[str, Any] | None, kv_event_lag_s: float = 0.0
    ) -> Mapping[str, Any]:
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
            until_s=UNTIL_S + 4 * kv_event_lag_s,
            kv_event_lag_s=kv_event_lag_s,
        )
        return self.replayer.run(job).columns
