"""The files of one system's estimates by design of its experiment, and every column of them.

Names shared with `cells.parquet` mean the same there. Times are model seconds, latencies and loads as in
docs/estimator.md. `_lo` and `_hi` hold a 95 % interval; a number that is not known is NaN, a text that does
not apply is empty. A row stands there for everything that was planned: where nothing valid was measured its
numbers are NaN, `valid` is False and `reasons` says why; a valid row with `reasons` lacks a launch.
"""

from __future__ import annotations

from typing import Final

FILES: Final = {
    "ladder": ("cells.parquet", "curves.parquet", "attempts.parquet", "system.json"),
    "stages": (
        *("stages.parquet", "launches.parquet", "ratios.parquet", "series.parquet"),
        *("detection.parquet", "polls.parquet", "curves.parquet", "attempts.parquet", "system.json"),
    ),
    "pareto": (
        *("pairs.parquet", "launches.parquet", "spread.parquet"),
        *("curves.parquet", "attempts.parquet", "system.json"),
    ),
}
"""What `anarchy system` writes, by `experiment.design`; always all of them, with all columns, also empty."""


def _bounded(*names: str) -> tuple[str, ...]:
    """Each name, and the two ends of its interval."""
    return tuple(name + bound for name in names for bound in ("", "_lo", "_hi"))


SYSTEM_COLUMNS: Final = (
    *("experiment", "tier", "model", "model_title", "topology", "topology_title"),
    *("engine", "dilation", "workload", "workload_title"),
)
"""First columns of every file but curves and attempts. `engine` is its label, `dilation` wall s a model s."""

POLICY_COLUMNS: Final = (
    "routing_set",  # name of the set of policies measured on one deployment (wildcard `routing`)
    "policy",
    "policy_title",
    "kind",  # kv, adaptive, round_robin, random, least_loaded, power_of_two, batched_optimal
    "way",  # builtin or pinned
    "tau",  # of a kv policy; NaN for the others
    "omega",
    "reference",  # bool: the policy whose cells the latency curves of its set were fitted to
)

QUANTITIES: Final = ("poa_hat", "poa_cal", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps")
"""PoA-hat, PoA-cal, s, s, s, requests a second: what ratios and spreads are given for, and `load_range`."""

ESTIMATE_COLUMNS: Final = (
    *("n_launches", "n_requests", "n_windows"),
    "interval_kind",  # across-launches (>= 3) or within-run
    "block_length",  # mean, windows
    "regime",  # of PoA-hat: artifact, plateau (C below the system's knee), growth; not the controller's
    *_bounded(*QUANTITIES),
    *_bounded("dynamics", "routing", "freezing"),  # PoA-hat = their product; routing is PoA-cal again
    *("median_window", "p90_window"),  # over windows of SC_w / OPTf_w
    *_bounded("ttft_mean"),  # s
    *("throughput_tps", "error_share"),
    # Load on the decode workers, requests in flight, averaged over the time measured:
    "load_mean",  # of one worker
    *_bounded("load_range"),  # largest worker less smallest
    *_bounded("load_sd"),  # standard deviation over workers (divided by m)
    "prefill_load",  # requests sent and without their first token, all workers together
    "to_fullest",  # share of requests sent to a worker that had more in flight than the emptiest and no less
    #   than any: about 1/m where load does not matter, 0 where the emptiest is always taken
    # Mechanism, NaN where the trace does not tell it:
    "cached_share",  # prompt tokens found in the prefill worker's cache, of all prompt tokens
    "overlap_chosen",  # mean share of the prompt's blocks on the decode worker that was chosen (pinned only)
    "overlap_best",  # the same on the worker that held most
    # Requests routed in each of the controller's regimes, as shares; NaN for a policy without a controller:
    *("share_below", "share_transition", "share_saturated"),
    *_bounded("poa_hat_cv"),  # CV of PoA-hat from launch to launch (log-normal, chi-squared); NaN with < 3
    *("valid", "reasons"),
)
"""One condition's estimates, launches pooled. Medians, quantiles and loads are of the measured requests."""

STAGE_COLUMNS: Final = (
    *SYSTEM_COLUMNS,
    *POLICY_COLUMNS,
    "stage",
    "stage_index",  # from 0, in the order of time
    "direction",  # up: to the first stage of the largest C, itself included; down: after it
    "concurrency",
    "knee_times",  # concurrency over the system's knee
    *ESTIMATE_COLUMNS,
    *_bounded("curvature"),  # second divided difference of ttft_mean in C, s a user squared; see estimator.md
)
"""`stages.parquet`: one row a workload, routing set, policy and stage."""

LAUNCH_COLUMNS: Final = (
    *SYSTEM_COLUMNS,
    *POLICY_COLUMNS,
    "condition",  # name of the stage or the load
    *("concurrency", "repeat", "launch", "n_requests", "n_windows"),
    *QUANTITIES,
    *("dynamics", "routing", "freezing", "load_range", "valid", "reasons"),
)
"""`launches.parquet`: one row a launch of each row of stages.parquet or pairs.parquet, without intervals."""

RATIO_COLUMNS: Final = (
    *SYSTEM_COLUMNS,
    # The policy under test (denominator): each adaptive one; where a system has none, each non-reference one.
    *("routing_set", "policy", "policy_title", "way"),
    # What it is held against (numerator): every other policy of the experiment, adaptive ones left out.
    *("against_set", "against", "against_title", "against_way", "against_kind"),
    "against_reference",  # bool: the numerator is the reference policy of the same set ("static/adaptive")
    *("stage", "stage_index", "concurrency"),
    "quantity",  # one of QUANTITIES, or load_range
    *_bounded("ratio"),  # against / policy: above 1 = the policy under test has less of it
    "paired",  # bool: both sides on the same launches, whose luck cancels
    *("interval_kind", "n_launches", "valid", "reasons"),
)
"""`ratios.parquet`: one row a workload, pair of policies, stage and quantity."""

SERIES_COLUMNS: Final = (
    *SYSTEM_COLUMNS,
    *POLICY_COLUMNS,
    *("launch", "cell"),
    "t",  # start of the bin, s from the cell's start
    "seconds",  # width of the bin
    *("stage", "concurrency"),  # at the start of the bin; empty and 0 after the last stage
    "n_sent",  # requests sent in the bin
    *("ttft_p50", "ttft_p99"),  # s, of the requests sent in the bin that ended well; NaN with none
    "throughput_rps",  # requests that ended well in the bin, a second
    "load",  # list of m: requests in flight on each decode worker, mean over the bin
    "prefill_load",  # requests sent and without their first token, mean over the bin
    "regime",  # the controller's, of most of the requests sent in the bin; empty without a controller
)
"""`series.parquet`: one row a second of each staged cell, every launch on its own."""

_LOG_COLUMNS: Final = (
    *SYSTEM_COLUMNS,
    *POLICY_COLUMNS,
    *("launch", "cell"),
    "log",  # the file's name
    "source",  # prometheus or client
    "acts",  # bool: this log's controller set the policy (controller.jsonl); False: it only watched
)

DETECTION_COLUMNS: Final = (
    *_LOG_COLUMNS,
    *("period_s", "baseline_s", "theta1_s", "theta2_s"),
    "knee",  # C, that loads are multiples of
    # All times from the cell's start.
    *("crossed_stage", "crossed_concurrency"),
    "crossed_s",  # start of the first stage with C above the knee; NaN where there is none
    "regime_crossed",  # the controller's when the load crossed: other than below = it was up already
    "ttft_crossed_s",  # end of the first poll window from then on whose P99 is above theta1
    "fired",  # bool: a switch up at or after crossed_s, before the load was back below
    *("fired_s", "fired_to"),
    "delay_s",  # fired_s - crossed_s
    "delay_polls",  # the same in periods
    "system_delay_s",  # ttft_crossed_s - crossed_s: until TTFT showed it
    "detector_delay_s",  # fired_s - ttft_crossed_s: what EWMA and confirming polls took
    "saturated_s",  # first switch to saturated from crossed_s on
    "false_alarms",  # switches up before crossed_s
    "recovered_s",  # start of the first later stage with C at or below the knee; the last stage's end without
    "released_s",  # first switch to below from recovered_s on
    "release_delay_s",
    "late_alarms",  # switches up from recovered_s on
    "switches",
    *("polls", "polls_missing", "polls_skipped"),
    "unreadable",  # lines of the log that were not whole
    *("valid", "reasons"),
)
"""`detection.parquet`: one row a staged cell and controller log."""

POLL_COLUMNS: Final = (
    *_LOG_COLUMNS,
    "t",  # end of the poll's window, s from the cell's start
    "stage",
    *("requests", "p99", "p99_lo", "p99_hi", "ewma"),  # s; the bracket is (lo, hi]
    *("theta1", "theta2"),  # s; NaN while the baseline is measured
    *("regime", "verdict", "reason"),
    "switch_from",  # empty where this poll switched nothing
    *("late_s", "skipped"),
)
"""`polls.parquet`: one row a poll of each log in detection.parquet."""

PAIR_COLUMNS: Final = (
    *SYSTEM_COLUMNS,
    *POLICY_COLUMNS,
    *("load", "knee_times", "concurrency"),
    "repeat",  # from 1; only the reference policy has more
    *ESTIMATE_COLUMNS,
    "front",  # bool: no other policy of its set at this load has less TTFT P99, more throughput, less PoA-hat
    "front_share",  # share of the bootstrap replicates in which it is on the front
)
"""`pairs.parquet`: one row a workload, routing set, load, policy and repeat. `front` is of repeat 1."""

SPREAD_COLUMNS: Final = (
    *SYSTEM_COLUMNS,
    *("routing_set", "way", "load", "knee_times", "concurrency"),
    "factor",  # pair: every policy of the set; tau, omega: the levels of one, the other averaged out
    "quantity",  # one of QUANTITIES, or load_range
    *("n_levels", "n_launches", "n_repeats", "left_out"),  # left_out: policies without a valid cell
    *("mean", "lowest", "highest"),  # geometric mean, smallest and largest level
    "half_spread",  # (highest - lowest) / 2, in units of the quantity: the paper's "+-"
    *("cv", "cv_noise"),  # over levels, and of the noise that a level carries
    "noise",  # what the noise is: repeats, pair-by-launch, or empty (unknown: counted as 0 in the bound)
    *("f", "df", "df_noise", "p_value"),  # F test of no difference between levels
    "effect",  # bool: p_value < 0.05
    "cv_effect",  # estimate of the CV between levels with the noise taken out, at least 0
    "cv_bound",  # its one-sided 95 % upper bound: "no effect" means none larger than this
    "against_load",  # the variance ratio's denominator: the load of the least C; empty in its own row
    *_bounded("variance_ratio"),  # of the quantity itself, F interval; NaN in the row of against_load
    *_bounded("variance_ratio_log"),  # of its logarithm, free of its level
    *("valid", "reasons"),
)
"""`spread.parquet`: one row a workload, routing set, load, factor and quantity."""

CURVE_COLUMNS: Final = (
    *("workload", "routing_set", "launch", "concurrency"),
    "reference",  # bool: within the range of C that the affine curve is fitted to
    *("x", "latency", "weight", "n"),  # load, mean TTFT in s, share of its cell's requests, requests
)
"""`curves.parquet`: one row a launch, cell or stage of the reference policy, and load; as a ladder's."""

RISE_KEYS: Final = (
    *("from", "to"),  # names of the stages or loads
    *_bounded(
        "poa_hat", "dynamics", "routing", "freezing"
    ),  # ratios to / from; the last three multiply to it
    *_bounded(
        "dynamics_share", "routing_share", "freezing_share"
    ),  # log ratio over that of poa_hat; sum to 1
)
"""How much of the rise of PoA-hat between two conditions of one policy is routing at all."""

SYSTEM_KEYS: Final = {
    "ladder": "as before",
    "stages": (
        *("experiment", "tier", "design", "model", "model_title", "topology", "topology_title"),
        *(
            "engine",
            "dilation",
            "pool",
            "knee",
            "knee_from",
            "c_ref",
            "versions",
            "deployments",
            "deviations",
        ),
        "stages",  # [{name, concurrency, knee_times, direction, settle_s, seconds}], as planned
        "routing",  # {set: {reference, policies: [{name, title, kind, way, tau, omega}]}}
        # {name: {title, curves: {set: {launch: as in the ladder's}}, notes: [text],
        #   curvature: {set: {policy: {concurrency, value, lo, hi} or null}}: where it is largest, going up;
        #   rise: {set: {policy: RISE_KEYS or null}}: from the first stage of the least C to that of the most
        "workloads",
        "controllers",  # {regime: {tau, omega}}
    ),
    "pareto": (
        *("experiment", "tier", "design", "model", "model_title", "topology", "topology_title"),
        *(
            "engine",
            "dilation",
            "pool",
            "knee",
            "knee_from",
            "c_ref",
            "versions",
            "deployments",
            "deviations",
        ),
        "loads",  # [{name, concurrency, knee_times, reference_only}], by rising C
        "routing",
        "repeats",
        # {name: {title, curves, notes,
        #   rise: {set: {policy: RISE_KEYS or null}}: from its load of the least C to that of the most
        "workloads",
    ),
}
"""Keys of `system.json`; `deployments` gains `routing_set`, its `trial` is the launch."""
