"""The TTFT histograms of a frontend's metrics page, and what tells which process wrote it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from anarchy.control.histogram import Histogram
from anarchy.telemetry.exposition import Labels, PageError, Sample, Series, check_page, excerpt, read_samples

METRIC: Final = "dynamo_frontend_time_to_first_token_seconds"
"""Wall seconds from a request's arrival at the frontend to the end of its prefill."""
MODEL_LABELS: Final = ("model", "model_name")
"""The first of these that a series has names its model; Dynamo's is the first."""
_BUCKET: Final = f"{METRIC}_bucket"
_EDGE: Final = "le"
_STARTED: Final = ("process_start_time_seconds", f"{METRIC}_created")
"""Series whose values are set when a process starts, and never change."""
_UPTIME: Final = "dynamo_component_uptime_seconds"
"""Dynamo's series with the process's own id as a label."""
_NAMES_SHOWN: Final = 10
_LONGEST_NAME: Final = 200
"""Characters; a name is there to be copied into `--model`."""


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a frontend."""

    histograms: Mapping[Labels, Histogram]
    """By labels, `le` left out, in the labels' order; seconds of wall time."""
    process: Mapping[Series, str] = field(default_factory=dict)
    """What stays the same while one process answers; nothing where the page does not tell."""

    @property
    def models(self) -> frozenset[str]:
        """The models that it has histograms of; "" is that of a series without one."""
        return frozenset(model_of(labels) for labels in self.histograms)

    def of_model(self, model: str | None) -> dict[Labels, Histogram]:
        """The histograms of one model; None for all."""
        return {
            labels: histogram
            for labels, histogram in self.histograms.items()
            if model is None or model_of(labels) == model
        }


def read_page(text: str, content_type: str = "") -> Page:
    """Read an answer's body; the same text gives the same page, whatever the order of its lines.

    Raises `PageError` for what is no metrics page, and for a histogram of which the page does not tell the
    counts: an edge that is no number, no +Inf, counts that fall from edge to edge, a bucket with two counts.
    """
    samples = read_samples(text, content_type, METRIC, *_STARTED, _UPTIME)
    buckets: dict[Labels, dict[float, float]] = {}
    for sample in samples:
        if sample.name == _BUCKET:
            labels, edge = _without_edge(sample)
            counts = buckets.setdefault(labels, {})
            if edge in counts and counts[edge] != sample.value:
                raise PageError(
                    f"{_name(labels)}: the bucket up to {edge:g} s stands twice, with {counts[edge]:g} and "
                    f"{sample.value:g} requests"
                )
            counts[edge] = sample.value
    if not buckets:
        _say_why_none(samples, text, content_type)
    return Page(
        {labels: _histogram(labels, buckets[labels]) for labels in sorted(buckets)}, _process(samples)
    )


def model_of(labels: Labels) -> str:
    """The model of a series; "" where its labels name none."""
    values = dict(labels)
    return next((values[name] for name in MODEL_LABELS if name in values), "")


def name_models(models: Iterable[str]) -> str:
    """Models in a message: quoted, sorted, and not more than ten."""
    names = [excerpt(model, _LONGEST_NAME) if model else "one without a name" for model in sorted(models)]
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def broken(before: Page, after: Page) -> str:
    """Why two pages are not those of one process, one after the other; "" when nothing says so."""
    if any(after.process.get(series) != value for series, value in before.process.items()):
        return (
            "another process answers than at the start of the window: it was restarted, or several answer "
            "here in turn"
        )
    for labels, old in before.histograms.items():
        new = after.histograms.get(labels)
        if new is None:
            if old.total > 0:
                return f"{_name(labels)} is gone: {_restarted(after)}"
        elif new.edges != old.edges:
            return f"{_name(labels)} has other buckets than before: {_restarted(after)}"
        elif any(b < a for a, b in zip(old.parts, new.parts, strict=True)):
            return f"{_name(labels)} counts fewer requests than before: {_restarted(after)}"
    return ""


def _restarted(page: Page) -> str:
    if page.process:
        return "several processes answer here in turn, or its counts are no counts"
    return "it was restarted, or several processes answer here in turn"


def _without_edge(sample: Sample) -> tuple[Labels, float]:
    labels = dict(sample.labels)
    text = labels.pop(_EDGE, None)
    # An empty value is the same as no label.
    rest = tuple((name, value) for name, value in labels.items() if value)
    if text is None:
        raise PageError(f"{_name(rest)}: a bucket without an edge")
    try:
        edge = float(text)
    except ValueError:
        edge = math.nan
    if math.isnan(edge):
        raise PageError(f"{_name(rest)}: a bucket's edge is {excerpt(text)}, no number")
    return rest, edge


def _histogram(labels: Labels, counts: Mapping[float, float]) -> Histogram:
    edges = sorted(counts)
    try:
        return Histogram(tuple(edges), tuple(counts[edge] for edge in edges))
    except ValueError as error:
        raise PageError(f"{_name(labels)}: {error}") from None


def _process(samples: Sequence[Sample]) -> dict[Series, str]:
    process = {
        (sample.name, sample.labels): repr(sample.value) for sample in samples if sample.name in _STARTED
    }
    ids = sorted(sample.labels for sample in samples if sample.name == _UPTIME)
    return process | ({(_UPTIME, ()): repr(ids)} if ids else {})


def _say_why_none(samples: Sequence[Sample], text: str, content_type: str) -> None:
    """Raise `PageError` where no bucket stands on a page for another reason than that nothing was served."""
    if any(sample.name in {METRIC, f"{METRIC}_sum", f"{METRIC}_count"} for sample in samples):
        raise PageError(f"{METRIC} has no buckets, which alone tell a P99")
    check_page(text, content_type)


def _name(labels: Labels) -> str:
    """A histogram in a message."""
    return "the TTFT histogram" + (f" of {excerpt(model)}" if (model := model_of(labels)) else "")
