"""Columns that estimates of several designs share; those of one design stand in its folder.

Names that appear in several tables mean the same there. Times are model seconds, latencies and loads as in
docs/estimator.md. A row stands for everything that was planned: where nothing valid was measured its numbers
are null, `valid` is false and `reasons` says why; a valid row with `reasons` lacks a launch.
"""

from __future__ import annotations

from typing import Final

from anarchy.estimate.frames import (
    NUMBERS,
    bounded,
    counts,
    field,
    flags,
    numbers,
    table,
    texts,
)

QUANTITIES: Final = ("poa_hat", "poa_cal", "ttft_p50", "ttft_p99", "itl_mean", "throughput_rps")
"""What ratios and spreads are given for, and `load_range`."""

SYSTEM: Final = (
    *texts(
        experiment="name of the experiment",
        tier="its size",
        model="name of the model",
        model_title="the model, for people",
        topology="name of the topology",
        topology_title="the topology, for people",
        engine="label of the engine, for figures: simulated, simulated in virtual time, B200, ...",
    ),
    *numbers("wall s a model s", dilation="how much simulated engines slow time down"),
)
WORKLOAD: Final = texts(workload="name of the workload", workload_title="the workload, for people")
POLICY: Final = (
    *texts(
        routing_set="name of the set of policies measured on one deployment",
        policy="name of the policy",
        policy_title="the policy, for people",
        kind="kv, adaptive, or a baseline's word",
        way="builtin or pinned",
    ),
    *numbers(tau="temperature of a kv policy; null for the others", omega="its overlap weight"),
    *flags(reference="whether the latency curves of its set were fitted to this policy's cells"),
)
JUDGED: Final = (
    *flags(valid="whether it counts"),
    *texts(reasons="why not, or which launches are missing"),
)
DECOMPOSITION: Final = bounded(
    dynamics="measured latency over what the fitted curve charges",
    routing="PoA-cal again: what a better choice of workers could change",
    freezing="congestion that the index leaves out of its optimum; the three multiply to PoA-hat",
)
STEP: Final = (
    *numbers(
        "s",
        step_s="length of a prefill step, the bin of the next two: the shortest time from sending to first "
        "token in any cell of the launch, model seconds; mean over launches",
    ),
    *numbers(
        arrivals_dispersion="variance over mean of the requests sent in a bin: 1 by chance, about g in "
        "groups of g; mean over launches",
        completions_dispersion="the same of the requests that were over in a bin",
        in_step_from="arrivals_dispersion from which users are said to march in step; mean over launches",
    ),
    *flags(in_step="whether users marched in step, in a launch or more; null where no trace tells"),
)
"""How far the users of a cell marched in step (`estimate.step`)."""
WINDOWS: Final = numbers(
    median_window="median over windows of SC_w / OPTf_w", p90_window="90 % quantile of the same"
)
EFFORT: Final = (
    *counts(
        n_launches="launches that count",
        n_requests="requests measured",
        n_windows="windows of the routing game",
    ),
    *texts(interval_kind="across-launches (3 or more) or within-run"),
    *numbers("windows", block_length="mean length of the bootstrap's blocks"),
    *texts(regime="of PoA-hat: artifact, plateau (C below the knee), growth; not the controller's"),
)
USERS: Final = (
    *bounded(poa_hat="PoA-hat", poa_cal="PoA-cal"),
    *bounded(
        "s",
        ttft_p50="median time to first token",
        ttft_p99="99 % quantile of the time to first token",
        itl_mean="mean inter-token latency",
    ),
    *bounded("1/s", throughput_rps="requests completed a second"),
)
ESTIMATES: Final = (
    *EFFORT,
    *USERS,
    *DECOMPOSITION,
    *WINDOWS,
    *bounded("s", ttft_mean="mean time to first token"),
    *numbers("1/s", throughput_tps="output tokens a second"),
    *numbers(error_share="share of the requests that failed"),
    # Load on the decode workers, averaged over the time measured:
    *numbers("requests", load_mean="requests in flight on one decode worker"),
    *bounded(
        "requests",
        load_range="largest decode worker less smallest",
        load_sd="standard deviation over decode workers (divided by m)",
    ),
    *numbers("requests", prefill_load="requests sent and without their first token, all workers together"),
    *numbers(
        to_fullest="share of requests sent to a worker that had more in flight than the emptiest and no less "
        "than any: about 1/m where load does not matter, 0 where the emptiest is always taken",
        cached_share="prompt tokens found in the prefill worker's cache, of all prompt tokens",
        overlap_chosen="mean share of the prompt's blocks on the decode worker that was chosen (pinned only)",
        overlap_best="the same on the worker that held most",
        share_below="share of requests routed in the controller's regime below; null without a controller",
        share_transition="the same in transition",
        share_saturated="the same when saturated",
    ),
    *bounded(
        poa_hat_cv="CV of PoA-hat from launch to launch (log-normal, chi-squared); null with less than 3"
    ),
    *STEP,
    *JUDGED,
)
"""One condition's estimates, launches pooled. Medians, quantiles and loads are of the measured requests."""

LAUNCHES: Final = table(
    "a launch of each row of stages or pairs, without intervals",
    SYSTEM,
    WORKLOAD,
    POLICY,
    texts(condition="name of the stage or the load"),
    counts("users", concurrency="C"),
    counts(repeat="which of several measurements of the same", launch="number of the launch, from 1"),
    counts(n_requests="requests measured", n_windows="windows of the routing game"),
    numbers(poa_hat="PoA-hat", poa_cal="PoA-cal"),
    numbers("s", ttft_p50="median time to first token", ttft_p99="its 99 % quantile"),
    numbers("s", itl_mean="mean inter-token latency"),
    numbers("1/s", throughput_rps="requests completed a second"),
    numbers(dynamics="factor of PoA-hat", routing="factor of PoA-hat", freezing="factor of PoA-hat"),
    numbers("requests", load_range="largest decode worker less smallest"),
    STEP,
    JUDGED,
)

_POINTS: Final = (
    *counts(launch="number of the launch, from 1"),
    *counts("users", concurrency="C of the cell or stage"),
    *flags(reference="whether C is within the range that the affine curve is fitted to"),
    *numbers("requests", x="load on the worker chosen"),
    *numbers("s", latency="mean time to first token"),
    *numbers(weight="share of its cell's requests"),
    *counts("requests", n="requests"),
)
LADDER_CURVES: Final = table(
    "a workload, launch, concurrency and load: the means that latency curves were fitted to",
    texts(workload="name of the workload"),
    _POINTS,
)
CURVES: Final = table(
    "a workload, launch, cell or stage of the reference policy, and load: what its curves were fitted to",
    texts(workload="name of the workload", routing_set="name of the set of policies"),
    _POINTS,
)

ATTEMPTS: Final = table(
    "a measured attempt of a cell, valid or not, in the order of measuring",
    texts(model="name of the model", topology="name of the topology"),
    texts(routing_set="name of the set of policies", policy="name of the policy"),
    counts(trial="number of the launch, from 1"),
    texts(cell="name of the cell", workload="name of the workload"),
    counts("users", concurrency="C; of a staged cell the largest"),
    texts(load="name of the load; empty on a grid and in stages"),
    counts(repeat="which of several measurements of the same", attempt="which attempt at it, from 1"),
    JUDGED,
    counts(n_requests="rows of its trace"),
    texts(started_at="ISO 8601, UTC"),
    numbers("wall s", duration_wall_s="how long it took"),
    flags(counted="whether it is the one that counts; one under another plan may be valid and not count"),
    numbers(client_cpu_share="share of a core that the load client took"),
    numbers(host_cpu_share="share of all cores that were busy"),
    numbers("s", loop_lag_p99_s="99 % quantile of how late the client's loop was"),
    numbers(error_share="share of the requests that failed", drift="trend of latency over the measure phase"),
    numbers(windows="windows of the routing game"),
)

STAGES: Final = table(
    "a workload, set of policies, policy and stage",
    SYSTEM,
    WORKLOAD,
    POLICY,
    texts(stage="name of the stage"),
    counts(stage_index="from 0, in the order of time"),
    texts(direction="up: to the first stage of the largest C, itself included; down: after it"),
    counts("users", concurrency="C"),
    numbers(knee_times="C over the system's knee"),
    ESTIMATES,
    bounded("s/user²", curvature="second divided difference of ttft_mean in C; see docs/estimator.md"),
)

RATIOS: Final = table(
    "a workload, pair of policies, stage and quantity; under test is each adaptive policy, or each that is "
    "not the reference where none is adaptive",
    SYSTEM,
    WORKLOAD,
    texts(
        routing_set="set of the policy under test (denominator)",
        policy="the policy under test",
        policy_title="the same, for people",
        way="builtin or pinned",
        against_set="set of the policy that it is held against (numerator)",
        against="the policy that it is held against",
        against_title="the same, for people",
        against_way="builtin or pinned",
        against_kind="its kind",
    ),
    flags(against_reference="whether the numerator is the reference of the same set (static over adaptive)"),
    texts(stage="name of the stage"),
    counts(stage_index="from 0, in the order of time"),
    counts("users", concurrency="C"),
    texts(quantity="poa_hat, poa_cal, ttft_p50, ttft_p99, itl_mean, throughput_rps or load_range"),
    bounded(ratio="against over policy: above 1, the policy under test has less of it"),
    flags(paired="whether both sides are of the same launches, whose luck cancels"),
    texts(interval_kind="across-launches (3 or more) or within-run"),
    counts(n_launches="launches that count"),
    JUDGED,
)

SERIES: Final = table(
    "a second of each staged cell, every launch on its own",
    SYSTEM,
    WORKLOAD,
    POLICY,
    counts(launch="number of the launch, from 1"),
    texts(cell="name of the cell"),
    numbers("s", t="start of the bin, from the cell's start", seconds="width of the bin"),
    texts(stage="stage at the start of the bin; empty after the last"),
    counts("users", concurrency="C at the start of the bin; 0 after the last stage"),
    counts("requests", n_sent="requests sent in the bin"),
    numbers(
        "s",
        ttft_p50="median TTFT of the requests sent in the bin that ended well; null with none",
        ttft_p99="its 99 % quantile",
    ),
    numbers("1/s", throughput_rps="requests that ended well in the bin, a second"),
    (
        field(
            "load",
            NUMBERS,
            "requests in flight on each of the m decode workers, mean over the bin",
            "requests",
        ),
    ),
    numbers("requests", prefill_load="requests sent and without their first token, mean over the bin"),
    texts(regime="the controller's, of most of the requests sent in the bin; empty without a controller"),
)

_LOG: Final = (
    *SYSTEM,
    *WORKLOAD,
    *POLICY,
    *counts(launch="number of the launch, from 1"),
    *texts(cell="name of the cell", log="name of the controller's log", source="prometheus or client"),
    *flags(acts="whether this log's controller set the policy; else it only watched"),
)

DETECTION: Final = table(
    "a staged cell and controller log; times from the cell's start",
    _LOG,
    numbers("s", period_s="period of the polls", baseline_s="baseline of the thresholds"),
    numbers("s", theta1_s="lower threshold", theta2_s="upper threshold"),
    counts("users", knee="C that loads are multiples of"),
    texts(crossed_stage="first stage with C above the knee"),
    counts("users", crossed_concurrency="its C"),
    numbers("s", crossed_s="its start; null where there is none"),
    texts(regime_crossed="the controller's when the load crossed; other than below: it was up already"),
    numbers("s", ttft_crossed_s="end of the first poll window from then on whose P99 is above theta1"),
    flags(fired="whether a switch up came at or after crossed_s, before the load was back below"),
    numbers("s", fired_s="when"),
    texts(fired_to="to which regime"),
    numbers("s", delay_s="fired_s less crossed_s"),
    numbers("polls", delay_polls="the same in periods"),
    numbers(
        "s",
        system_delay_s="ttft_crossed_s less crossed_s: until TTFT showed it",
        detector_delay_s="fired_s less ttft_crossed_s: what the average and confirming polls took",
        saturated_s="first switch to saturated from crossed_s on",
    ),
    counts(false_alarms="switches up before crossed_s; missing where no knee is known"),
    numbers(
        "s",
        recovered_s="start of the first later stage with C at or below the knee; else the last stage's end",
        released_s="first switch to below from recovered_s on",
        release_delay_s="released_s less recovered_s",
    ),
    counts(
        late_alarms="switches up from recovered_s on",
        switches="switches in all",
        polls="polls",
        polls_missing="polls without a P99",
        polls_skipped="polls left out because one before took too long",
        unreadable="lines of the log that were not whole",
    ),
    JUDGED,
)

POLLS: Final = table(
    "a poll of each log in the table detection",
    _LOG,
    numbers("s", t="end of the poll's window, from the cell's start"),
    texts(stage="stage at that time"),
    numbers("requests", requests="requests that its P99 is of"),
    numbers("s", p99="TTFT P99", p99_lo="lower end of the bucket that it lies in, excluded"),
    numbers("s", p99_hi="its upper end, included", ewma="average over polls"),
    numbers("s", theta1="lower threshold; null while the baseline is measured", theta2="upper threshold"),
    texts(
        regime="the controller's after the poll",
        verdict="what the poll led to",
        reason="why",
        switch_from="regime before a switch; empty where this poll switched nothing",
    ),
    numbers("s", late_s="how late the poll was"),
    counts(skipped="polls left out before it"),
)

STAGED: Final = {
    "stages": STAGES,
    "launches": LAUNCHES,
    "ratios": RATIOS,
    "series": SERIES,
    "detection": DETECTION,
    "polls": POLLS,
    "curves": CURVES,
    "attempts": ATTEMPTS,
}
"""Tables of a system measured in stages, by the stems of their files."""

RISE_KEYS: Final = (
    *("from", "to"),
    *(
        name + end
        for name in (
            *("poa_hat", "dynamics", "routing", "freezing"),
            *("dynamics_share", "routing_share", "freezing_share"),
        )
        for end in ("", "_lo", "_hi")
    ),
)
"""How much of the rise of PoA-hat between two conditions of one policy is routing at all: the two conditions,
ratios to over from (the last three multiply to the first), and shares of its logarithm, which sum to 1."""
