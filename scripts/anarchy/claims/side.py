"""Calculations beside the claims on routing: chance, Little's law, and prompts past the prefill worker."""

from __future__ import annotations

from typing import Final

import pandas as pd

from anarchy.claims.deciding import LAUNCHES
from anarchy.claims.model import Claim, Claims
from anarchy.config.files import load_study
from anarchy.designs.readings.columns import READING
from anarchy.engines.profiles import load_profile
from anarchy.estimate.bypass import Loop, one_prefill_worker, prefill_where_it_decodes
from anarchy.ground.layout import CONFIG, PROFILES
from anarchy.stats.chance import by_chance, cv_behind
from anarchy.stats.little import decode_growth
from anarchy.tables import System, is_missing, number, percent

GAIN, AFTER, SPREAD = "C8", "C10", "C11"
"""Claims: adaptive against static, TTFT after the switch, spread between runs."""
PUBLISHED_CV: Final = 0.18
"""Of C11, whose range in data/paper is the interval that three runs of it leave."""
SHARES: Final = (0.01, 0.1, 1.0, 10.0)
"""TTFT over decode time before the switch, which the paper does not give."""
PAST: Final = (128, 192, 256, 320, 384, 448, 512, 768, 1024)
"""C at which passing by the prefill worker is calculated; those that do not fill it are left out."""


def chance_table(system: System, claims: Claims, seed: int) -> pd.DataFrame:
    """How often three launches a side show the published ratio of C8 with no effect, by their spread.

    The measured spread is that of PoA-hat (reading idle) at the deepest C, over the launches of each ladder.
    """
    ratio = _ratio(_claim(claims, GAIN), "poa_hat")
    published = _claim(claims, SPREAD).published
    assert published.lo is not None
    assert published.hi is not None
    rows = [
        ("published, 3 runs (C11)", PUBLISHED_CV),
        ("the least that 3 such runs leave possible", published.lo),
        ("the most", published.hi),
    ]
    deep = system.frames["readings"]
    deep = deep[(deep["reading"] == READING) & (deep["concurrency"] == deep["concurrency"].max())]
    for row in deep.to_dict("records"):
        if row["n_launches"] >= LAUNCHES and not is_missing(row["poa_hat_lo"]):
            told = f"ours at C = {row['concurrency']}: {row['workload_title']}, tau {row['tau']:g}"
            rows.append((told, cv_behind(row["poa_hat_lo"], row["poa_hat_hi"], int(row["n_launches"]))))
    found = [(spread, cv, *by_chance(cv, LAUNCHES, ratio, seed)) for spread, cv in rows]
    return pd.DataFrame(
        {
            "spread from launch to launch": [one[0] for one in found],
            "CV": [percent(one[1]) for one in found],
            f"a ratio of {ratio:g} or more with no effect": [percent(one[2]) for one in found],
            "at most (95 %)": [percent(one[3]) for one in found],
        }
    )


def little_table(claims: Claims) -> pd.DataFrame:
    """How much longer decoding takes after the switch where C8's throughput and C10's TTFT hold at one C."""
    lost = 1.0 / _ratio(_claim(claims, GAIN), "throughput_rps")
    gain = _claim(claims, AFTER).published.lo
    assert gain is not None
    return pd.DataFrame(
        {
            "TTFT over decode time, before": [f"{share:g}" for share in SHARES],
            "decode time after over before": [number(decode_growth(lost, gain, share)) for share in SHARES],
        }
    )


def bypass_table(system: System) -> pd.DataFrame:
    """What passing by the prefill worker does to a system at each C, calculated from its timing table (H4).

    64 tokens out, unique prompts of 128 tokens. Errors: UserError where the timing table cannot be read.
    """
    model = load_study(CONFIG).models[str(system.info["model"])]
    profile, workers = load_profile(PROFILES / model.profile), int(system.info["pool"])
    rows = []
    for users in PAST:
        try:
            before = one_prefill_worker(profile, Loop(users, workers))
        except ValueError:
            continue
        after = prefill_where_it_decodes(profile, Loop(users, workers))
        rows.append(
            {
                "C": str(users),
                "TTFT, ms": f"{1e3 * before.ttft:.0f} to {1e3 * after.ttft:.0f}",
                "TTFT before over after": number(before.ttft / after.ttft),
                "throughput": f"{after.throughput / before.throughput - 1.0:+.0%}",
                "decode time after over before": number(after.decode / before.decode),
            }
        )
    return pd.DataFrame(rows)


def _claim(claims: Claims, name: str) -> Claim:
    return next(claim for claim in claims.claims if claim.id == name)


def _ratio(claim: Claim, quantity: str) -> float:
    """A published ratio static over adaptive."""
    return next(one.value for one in claim.published.ratios if one.quantity == quantity)
