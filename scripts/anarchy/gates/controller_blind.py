"""Gate `controller_blind`: a controller that saw too little."""

from __future__ import annotations

from typing import Final

from anarchy.gates.gate import Gate, Verdict
from anarchy.trace.control_log import LOG_FILE, clock_offset, read_log
from anarchy.trace.reader import CellTrace

MAX_BLIND_SHARE: Final = 0.25
"""`controller_blind`: more than this share of the controller's polls due inside the stages saw no P99."""


def controller_blind(trace: CellTrace) -> Verdict:
    """The controller that sets the router could not see what it should judge, as its log tells.

    Its thresholds are relative and were not known when the first stage was over, or too many of its polls
    inside the stages are `missing` or were skipped, or there are none. Asked where there is such a log; a
    constant cell is one stage.
    """
    path = trace.directory / LOG_FILE
    if not path.exists():
        return False, {}
    numbers: dict[str, float | None] = {"controller_baseline_s": None, "controller_missing_share": None}
    spans = _spans(trace)
    log = read_log(path)
    start = next(iter(log.of("start")), None)
    if start is None or not spans:
        return start is None, numbers
    offset = clock_offset(start, trace)
    known = next((float(record["t"]) + offset for record in log.of("baseline")), None)
    polls = [
        poll
        for poll in log.of("poll")
        if any(first <= poll["window"][1] + offset < last for first, last in spans)
    ]
    # A poll that waits for a page longer than a period costs the polls after it: they saw nothing either.
    skipped = sum(poll.get("skipped", 0) for poll in polls)
    missing = sum(poll["verdict"] == "missing" for poll in polls) + skipped
    share = missing / (len(polls) + skipped) if polls else None
    late = "multiples" in start["detector"] and (known is None or known >= spans[0][1])
    numbers = {"controller_baseline_s": known, "controller_missing_share": share}
    return late or share is None or share > MAX_BLIND_SHARE, numbers


def _spans(trace: CellTrace) -> list[tuple[float, float]]:
    """Begin and end of each stage, its settling with it; of what a constant cell measured. Model s."""
    if trace.manifest.stages:
        return [(stage.start_s, stage.end_s) for stage in trace.manifest.stages]
    sent = trace.column("t_sent")[trace.equals("phase", "measure")]
    return [(float(sent.min()), float(sent.max()))] if sent.size else []


GATE: Final = Gate(
    name="controller_blind",
    rank=90,
    sentence="The controller that sets the router could not see what it should judge, as its log tells.",
    threshold=f"more than {MAX_BLIND_SHARE:.0%} of its polls saw nothing, or its thresholds came too late",
    machine=True,
    own=True,
    public=False,
    ask=lambda asked: controller_blind(asked.trace),
)
