"""Figures of saturation detection (E2): detectors over time, and the curvature of mean latency in C."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anarchy.figures import style
from anarchy.figures.parts import REGIMES, fit, name_uncounted, with_bars, write_title
from anarchy.figures.style import BLACK, DOUBLE, GREY, SERIES, styled
from anarchy.figures.timeline import mark_stages, middle, name_launch, name_regimes, offered, strip
from anarchy.tables import System, is_missing, number, whole

SOURCES: Final = {
    "client": (*SERIES[0], "client's own TTFT"),
    "prometheus": (*SERIES[1], "frontends' histograms"),
}
"""Colour, marker, line style and name of what feeds a detector."""

MS: Final = 1e3


@styled
def detectors_over_time(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Offered C, TTFT P99 as each detector saw it, and the regime that each told, over one staged cell.

    Shows the first launch of the first policy that was watched. The lines over the strips reach from when the
    load crossed the knee to when the detector fired; bars of the histogram's P99 are the bucket it lies in.
    """
    rows, logs = system.of(workload), system.of(workload, "detection")
    figure = style.new_figure(width, 4.2)
    panels = figure.subplots(3, 1, sharex=True, gridspec_kw={"height_ratios": [1.0, 2.2, 1.1]})
    top, latency, regimes = panels
    shown = logs[logs["cell"] == logs["cell"].iloc[0]] if len(logs) else logs
    shown = shown[shown["launch"] == shown["launch"].min()]
    shown = shown.sort_values("source", key=lambda names: names.map(list(SOURCES).index), ascending=False)
    series = system.of(workload, "series")
    name_launch(top, series)
    if len(shown):
        first = shown.iloc[0]
        at = (series["cell"] == first["cell"]) & (series["launch"] == first["launch"])
        series = series[at & (series["routing_set"] == first["routing_set"])].sort_values("t")
    offered(top, system.info, width - 0.9)
    _latency(latency, series, system.of(workload, "polls"), shown, width)
    for axes in panels:
        mark_stages(axes, system.info)
    _told(regimes, system.of(workload, "polls"), shown)
    for _, log in shown.head(1).iterrows():
        for axes in panels:
            if not is_missing(log["crossed_s"]):
                label = f"load crosses the knee, {number(log['crossed_s'])} s"
                axes.axvline(
                    log["crossed_s"], color=style.PURPLE, linewidth=1.2, zorder=2,
                    label=label if axes is top else None,
                )  # fmt: skip
    regimes.set_xlabel("model time since the cell's start, s")
    name_uncounted(latency, rows, rows["stage"].astype(str), width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels), columns=2 if width >= DOUBLE else 1)
    return style.stamp(figure, rows.assign(interval_kind=None))


def _latency(axes: Axes, series: pd.DataFrame, polls: pd.DataFrame, logs: pd.DataFrame, width: float) -> None:
    """TTFT P99 in the bins of a second and as each detector's polls had it, with its thresholds."""
    axes.set_yscale("log")
    axes.plot(
        middle(series), MS * series["ttft_p99"], color="#b0b0b0", linewidth=0.8, zorder=2,
        label="TTFT P99 of each second's requests",
    )  # fmt: skip
    seen = [MS * series["ttft_p99"].to_numpy(dtype=float)]
    for log in logs.to_dict("records"):
        colour, marker, line, name = SOURCES[log["source"]]
        mine = _polls(polls, log)
        mine = mine.assign(p99_lo=mine["p99_lo"].where(mine["source"] == "prometheus"))
        with_bars(
            axes, mine["t"].to_numpy(dtype=float), mine, "p99", factor=MS, color=colour, marker=marker,
            linestyle=line, label=f"P99 of a poll, {name}", elinewidth=1.2, zorder=5,
        )  # fmt: skip
        axes.plot(mine["t"], MS * mine["ewma"], color=colour, linewidth=2.6, alpha=0.35, zorder=3)
        thresholds = [MS * log[bound] for bound in ("theta1_s", "theta2_s") if not is_missing(log[bound])]
        for place, threshold in enumerate(thresholds):
            words = f"theta1, theta2 = {', '.join(map(number, thresholds))} ms, {name}"
            axes.axhline(
                threshold, color=colour, linewidth=0.9, linestyle=(0, (1, 1.5)), zorder=1.5,
                label=fit(words, width) if place == 0 else None,
            )  # fmt: skip
        seen += [MS * mine[column].to_numpy(dtype=float) for column in ("p99", "p99_lo", "p99_hi")]
        seen.append(np.array(thresholds[:1]))
    axes.plot([], [], color=GREY, linewidth=2.6, alpha=0.5, label="EWMA of the polls, in their colours")
    frame = pd.DataFrame({"seen": np.concatenate(seen)})
    style.log_values(axes, frame, ["seen"], headroom=0.08)
    axes.set_ylabel("TTFT P99, ms")


def _polls(polls: pd.DataFrame, log: Mapping[Any, Any]) -> pd.DataFrame:
    """The polls of one log."""
    same = polls["routing_set"] == log["routing_set"]
    for name in ("cell", "launch", "log"):
        same &= polls[name] == log[name]
    mine: pd.DataFrame = polls[same].sort_values("t")
    return mine


def _told(axes: Axes, polls: pd.DataFrame, logs: pd.DataFrame) -> None:
    """A strip of regimes a detector, its delay over it, and a triangle at each false alarm."""
    names = []
    for place, log in enumerate(logs.to_dict("records")):
        mine = _polls(polls, log)
        start, told = _holds(mine)
        strip(axes, start, np.append(start[1:], start[-1:] + log["period_s"]), told, place)
        _delay(axes, log, place)
        early = mine[(mine["t"] < log["crossed_s"]) & (mine["switch_from"] != "")]
        alarms = early[early["regime"].map(list(REGIMES).index) > early["switch_from"].map(_place)]
        axes.plot(
            alarms["t"], np.full(len(alarms), place + 0.36), marker="v", linestyle="", color=BLACK, zorder=6,
            label="false alarm" if len(alarms) else None,
        )  # fmt: skip
        names.append({"client": "client", "prometheus": "histogram"}[log["source"]])
    axes.set_ylim(-0.5, max(len(names), 1) - 0.1)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylabel("detector told")
    axes.tick_params(axis="y", length=0)
    name_regimes(axes)


def _holds(polls: pd.DataFrame) -> tuple[np.ndarray[Any, Any], list[str]]:
    """From when which regime held: what a poll tells holds from its end to the end of the next."""
    if polls.empty:
        return np.zeros(0), []
    first = polls.iloc[0]
    return (
        np.concatenate([[0.0], polls["t"].to_numpy(dtype=float)]),
        [str(first["switch_from"] or first["regime"]), *polls["regime"].astype(str)],
    )


def _place(regime: str) -> int:
    return list(REGIMES).index(regime) if regime in REGIMES else 0


def _delay(axes: Axes, log: Mapping[Any, Any], place: int) -> None:
    """A line from when the knee was crossed to when the detector fired, with its length in words."""
    if is_missing(log["crossed_s"]):
        return
    start, height = float(log["crossed_s"]), place + 0.36
    fired = bool(log["fired"]) and not is_missing(log["fired_s"])
    end = float(log["fired_s"]) if fired else start
    words = f"fires after {number(log['delay_s'])} s" if fired else "never fires"
    axes.plot([start, end], [height, height], color=BLACK, linewidth=1.4, zorder=5)
    left, right = axes.get_xlim()
    late = end > left + 0.6 * (right - left)
    axes.annotate(
        words, (start if late else end, height), xytext=(-3 if late else 3, 0), textcoords="offset points",
        va="center", ha="right" if late else "left", fontsize=style.TEXT, zorder=6,
    )  # fmt: skip


@styled
def curvature_over_concurrency(system: System, workload: str, width: float = DOUBLE) -> Figure:
    """Mean TTFT against C on the way up and down, and its second divided difference on the way up."""
    rows = system.of(workload)
    rows = rows[rows["routing_set"] == rows["routing_set"].iloc[0]]
    rows = rows[rows["policy"] == rows["policy"].iloc[0]]
    wide = width >= DOUBLE
    figure = style.new_figure(width, 2.3 if wide else 4.2)
    panels = figure.subplots(*((1, 2) if wide else (2, 1)))
    for direction, (colour, marker, line), fill in (
        ("up", SERIES[0], SERIES[0][0]), ("down", SERIES[1], "white"),
    ):  # fmt: skip
        mine = rows[(rows["direction"] == direction) & rows["valid"].astype(bool)].sort_values("concurrency")
        with_bars(
            panels[0], mine["concurrency"].to_numpy(dtype=float), mine, "ttft_mean", factor=MS, color=colour,
            marker=marker, linestyle=line, markerfacecolor=fill, markeredgecolor=colour, markeredgewidth=1.0,
            label=f"load going {direction}, 95 % interval",
        )  # fmt: skip
    up = rows[(rows["direction"] == "up") & rows["curvature"].notna()].sort_values("concurrency")
    with_bars(
        panels[1], up["concurrency"].to_numpy(dtype=float), up, "curvature", factor=MS, color=style.GREEN,
        marker="^", linestyle="-.", label="curvature, load going up, 95 % interval",
    )  # fmt: skip
    panels[1].axhline(0, color=GREY, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    knee = system.info.get("knee")
    for axes, words in zip(
        panels, ("mean TTFT, ms", "second difference\nof mean TTFT, ms a user²"), strict=True
    ):
        axes.set_xlabel("concurrency C (requests in flight)")
        axes.set_ylabel(words)
        axes.set_xlim(0, 1.08 * float(rows["concurrency"].max()))
        if not is_missing(knee):
            label = f"knee, C = {whole(knee)}" if axes is panels[0] else None
            axes.axvline(float(knee or 0), color=style.PURPLE, linewidth=1.2, zorder=1.5, label=label)
    top = float(np.nanmax([*(MS * rows["ttft_mean_hi"]), 1.0]))
    panels[0].set_ylim(0, 1.08 * top)
    name_uncounted(panels[0], rows, rows["stage"].astype(str), width)
    write_title(figure, system.info, rows)
    style.legend(figure, list(panels), columns=2 if wide else 1)
    return style.stamp(figure, rows)
