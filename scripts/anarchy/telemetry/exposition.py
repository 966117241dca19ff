"""What a metrics page says, by the parsers of Prometheus' own client library; nothing else reads one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

LONGEST_LINE = 16_384
"""Characters; a label's value is a name. The parser's time grows with the square of a line's length."""
EXCERPT = 80
"""Characters of a page that a reason quotes at most."""
_OPENMETRICS = "application/openmetrics-text"
_END = "# EOF"


class PageError(ValueError):
    """A page that cannot be read; its text is the reason, with quoted excerpts that are safe to print."""


Labels = tuple[tuple[str, str], ...]
"""Names and values of labels, unescaped, in the order of the names."""
Series = tuple[str, Labels]
"""A metric's name and its labels."""


class Sample(NamedTuple):
    """One line of a page; its timestamp and its exemplar are left out."""

    name: str
    labels: Labels
    value: float


class Changes(NamedTuple):
    """What one answer says that the one before did not."""

    values: dict[Series, float]
    gone: tuple[Series, ...]
    bad_lines: int
    """New lines that are no samples."""
    ambiguous: int
    """New lines that give a series another value than one above: it has none then."""


class Exposition:
    """The text of one source, compared with its predecessor line by line: most lines never change."""

    def __init__(self) -> None:
        self._read: dict[str, Sample | None] = {}
        self._values: dict[Series, float] = {}

    def update(self, text: str) -> Changes:
        """Take the next answer and return what changed; all of it the first time. Bad lines are left out."""
        known, self._read = self._read, {}
        before, self._values = self._values, {}
        twice: set[Series] = set()
        bad = ambiguous = 0
        for line in text.split("\n"):
            if line in self._read:
                continue
            try:
                sample = known[line] if line in known else _sample(line)
            except PageError:
                sample, bad = None, bad + 1
            self._read[line] = sample
            if sample is None:
                continue
            series = (sample.name, sample.labels)
            if not _same(self._values.setdefault(series, sample.value), sample.value):
                twice.add(series)
                ambiguous += line not in known
        for series in twice:
            del self._values[series]
        changed = {
            series: value
            for series, value in self._values.items()
            if series not in before or not _same(before[series], value)
        }
        gone = tuple(series for series in before if series not in self._values)
        return Changes(changed, gone, bad, ambiguous)


def read_samples(text: str, content_type: str, *names: str) -> tuple[Sample, ...]:
    """The samples of a page whose names begin with one of `names`, in the page's order.

    The format is the one that the answer's content type names; without one, a page that ends with `# EOF` is
    OpenMetrics. That is read as a whole, as it asks; of the plain text format only the lines that hold one of
    the names. Raises `PageError`.
    """
    if _is_openmetrics(text, content_type):
        samples = _openmetrics(text)
    else:
        lines = (line for line in text.split("\n") if any(name in line for name in names))
        samples = tuple(parse_line(line) for line in lines if _is_sample(line))
    return tuple(sample for sample in samples if sample.name.startswith(names))


def check_page(text: str, content_type: str) -> None:
    """Raise `PageError` unless every line of a page is one of its format."""
    if _is_openmetrics(text, content_type):
        _openmetrics(text)
    else:
        for line in filter(_is_sample, text.split("\n")):
            parse_line(line)


def parse_line(line: str) -> Sample:
    """One line of the plain text format; raises `PageError`."""
    _check_length(line)
    try:
        (family,) = text_string_to_metric_families(line)
        (sample,) = family.samples
        return Sample(sample.name, tuple(sorted(sample.labels.items())), float(sample.value))
    except Exception as error:  # text without sense leads the parser to errors of many kinds
        raise PageError(f"no line of Prometheus' text format: {excerpt(line)}") from error


def labels_json(labels: Mapping[str, str]) -> str:
    """Labels as the recording writes them: JSON, names sorted."""
    return json.dumps(labels, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def excerpt(text: str, longest: int = EXCERPT) -> str:
    """The beginning of a text, so many characters at most, quoted, without control characters."""
    return repr(text if len(text) <= longest else f"{text[:longest]}...")


def _sample(line: str) -> Sample | None:
    """The sample on a line; None on a blank one and on a comment."""
    return parse_line(line) if _is_sample(line) else None


def _is_sample(line: str) -> bool:
    """Whether a line is neither blank nor a comment."""
    stripped = line.lstrip()
    return bool(stripped) and stripped[0] != "#"


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def _is_openmetrics(text: str, content_type: str) -> bool:
    if content_type:
        return content_type.partition(";")[0].strip().lower() == _OPENMETRICS
    return text.rstrip().endswith(_END)


def _openmetrics(text: str) -> tuple[Sample, ...]:
    lines = text.split("\n")
    for line in lines:
        _check_length(line)
    try:
        families = openmetrics_families(text)
        read = [sample for family in families for sample in family.samples]
        samples = tuple(
            Sample(
                sample.name,
                tuple(sorted((sample.labels or {}).items())),
                # A native histogram is no number.
                math.nan if sample.value is None else float(sample.value),
            )
            for sample in read
        )
    except Exception as error:  # as above
        raise PageError(f"no OpenMetrics text: {excerpt(str(error) or type(error).__name__)}") from error
    # The parser keeps the first of two lines of the same series and says nothing.
    if len(read) != sum(map(_is_sample, lines)):
        raise PageError("no OpenMetrics text: a series stands on it twice")
    return samples


def _check_length(line: str) -> None:
    if len(line) > LONGEST_LINE:
        raise PageError(f"a line of {len(line)} characters: {excerpt(line)}")
