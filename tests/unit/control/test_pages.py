"""TTFT histograms of a page: what is read, what is refused with a reason, and pages that do not follow."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys

import pytest

from anarchy.control.histogram import Histogram
from anarchy.control.pages import METRIC, broken, name_models, read_page
from anarchy.telemetry.exposition import PageError
from tests.helpers.metrics_pages import EDGES, OPENMETRICS, QUICK, SLOW, TEXT, times, ttft_text

READ = Histogram((0.1, 0.47, 1.0, 4.7, 10.0, math.inf), tuple(map(float, QUICK)))
M = (("model", "m"),)
GOOD = ttft_text(QUICK)
EXEMPLARS = ttft_text(QUICK, after=' # {trace_id="6c1} 0"} 0.05 1790000000.5')


@pytest.mark.parametrize(
    ("text", "content_type"),
    [(GOOD, TEXT), (GOOD, ""), (GOOD + "# EOF\n", OPENMETRICS), (EXEMPLARS, TEXT), (EXEMPLARS, ""),
     (EXEMPLARS + "# EOF\n", TEXT), (EXEMPLARS + "# EOF\n", ""), (EXEMPLARS + "# EOF\n", OPENMETRICS),
     (GOOD.replace('le="', ' le = "'), TEXT), (GOOD.replace("\n", "\r\n"), TEXT),
     (GOOD.replace('le="1"', 'le="1e0"').replace("+Inf", "inf"), TEXT),
     (ttft_text([f"{count}e0" for count in QUICK]), TEXT), (ttft_text(QUICK, after=" 1790000000000"), TEXT),
     (GOOD.replace("{", " {"), TEXT), ("".join(reversed(GOOD.splitlines(keepends=True))), TEXT),
     (GOOD + GOOD, TEXT), (r"# HELP a \\ \n } {" + "\n" + GOOD + "other{ 1\n", TEXT),
     (GOOD.replace(f"{METRIC}_bucket{{", f'{{"{METRIC}_bucket",'), TEXT),
     (GOOD.replace('model="m"', 'model="m",namespace=""'), TEXT)],
)  # fmt: skip
def test_the_same_histogram_however_it_is_written(text: str, content_type: str) -> None:
    page = read_page(text, content_type)
    assert page.histograms == {M: READ}
    assert page.models == {"m"}


@pytest.mark.parametrize("model", ["org/m}x{y", "a, b", 'a"b', "a\\b", "a\nb", "näme \u2028", 'le="1"', "#"])
def test_a_model_is_named_as_it_is(model: str) -> None:
    escaped = model.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
    for label in ("model", "model_name"):
        page = read_page(ttft_text(QUICK, f'{label}="{escaped}"'))
        assert page.models == {model}
        assert page.of_model(model) == page.histograms == {((label, model),): READ}
        assert page.of_model("other") == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [(GOOD + ttft_text(SLOW, head=False), "'m': the bucket up to 0.1 s stands twice, with 50 and 0 requests"),
     (GOOD + ttft_text([0] * 6), "stands twice"),
     (GOOD + f'{METRIC}_bucket{{model="m",le="1.0"}} 99\n', "up to 1 s stands twice"),
     (ttft_text(["NaN", *QUICK[1:]]), "no counts"), (ttft_text(["-1", *QUICK[1:]]), "no counts"),
     (ttft_text(["0.5", *QUICK[1:]]), "no counts"), (ttft_text([*QUICK[:-1], "+Inf"]), "no counts"),
     (ttft_text(QUICK[:-1], edges=EDGES[:-1]), "[+]Inf as its last edge"),
     (ttft_text([60, 50, 100, 100, 100, 100]), "fall from edge to edge"),
     (ttft_text(QUICK, edges=("-1", *EDGES[1:])), "do not rise from 0"),
     (ttft_text(QUICK, edges=("one", *EDGES[1:])), "edge is 'one', no number"),
     (ttft_text(QUICK, edges=("nan", *EDGES[1:])), "no number"),
     (GOOD.replace(',le="1"', ""), "without an edge"),
     (f"{METRIC}_sum 1\n{METRIC}_count 2\n", "no buckets"),
     (f'{METRIC}{{quantile="0.99"}} 2\n', "no buckets"),
     ("<html><body>It works</body></html>", "no line of Prometheus' text format: '<html>"),
     ("up 1\n{}\n", "no line"), (GOOD.replace('le="1"} 100', 'le="1"'), "no line"),
     ("up 1\n" + "x" * 20_000 + " 1\n", "a line of 20002 characters")],
)  # fmt: skip
def test_what_a_page_does_not_tell_is_a_reason(text: str, reason: str) -> None:
    with pytest.raises(PageError, match=reason) as refused:
        read_page(text, TEXT)
    assert str(refused.value).isprintable()


def test_a_page_without_ttft_has_served_nothing() -> None:
    for text in ("", "\n", "up 1\n", "# only a comment", f"# TYPE {METRIC} histogram\n"):
        assert read_page(text).histograms == {}


IN_A_PROCESS = """
import sys
from anarchy.control.histogram import add, quantile
from anarchy.control.pages import read_page
page = read_page(sys.stdin.read())
together = add(page.histograms.values())
print(list(page.histograms), together.counts, quantile(together, 0.99), sorted(page.process.items()))
"""


def test_the_same_page_gives_the_same_reading_in_every_process() -> None:
    lines = [
        line
        for worker in range(6)
        for line in ttft_text(times(QUICK, 7 + worker), f'worker="{worker}",model="m"').splitlines()
    ] + [f'dynamo_component_uptime_seconds{{worker_id="{number}"}} 5.5' for number in range(4)]
    readings = set()
    for seed in range(4):
        random.Random(seed).shuffle(lines)
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        done = subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS], input="\n".join(lines), env=environment,
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        readings.add(done.stdout)
    assert len(readings) == 1
    assert "0.947" in readings.pop()


def started(at: float) -> str:
    return f"process_start_time_seconds {at}\n"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [(GOOD, ttft_text(times(QUICK, 2)), ""), (GOOD, GOOD, ""), ("", GOOD, ""), (ttft_text([0] * 6), "", ""),
     (GOOD, GOOD + ttft_text(SLOW, 'model="new"', head=False), ""),
     (started(5) + GOOD, started(5) + ttft_text(times(QUICK, 2)), ""),
     (ttft_text(times(QUICK, 2)), GOOD, "counts fewer requests than before: it was restarted, or several"),
     (GOOD, ttft_text([0, 90, 200, 200, 200, 200]), "counts fewer requests"),  # in its first bucket
     (GOOD, ttft_text([50, 150, 155, 155, 155, 155]), "counts fewer requests"),  # between two edges only
     (GOOD, "up 1\n", "is gone"), (GOOD, ttft_text(SLOW, 'model="other"'), "of 'm' is gone"),
     (GOOD, ttft_text(QUICK, edges=("0.2", *EDGES[1:])), "other buckets"),
     (started(5) + GOOD, started(5) + ttft_text([0] * 6), "several processes answer here in turn, or"),
     (started(5) + GOOD, started(9) + ttft_text(times(QUICK, 2)), "another process"),
     (started(5) + GOOD, ttft_text(times(QUICK, 2)), "another process"),
     ('dynamo_component_uptime_seconds{worker_id="a"} 5\n' + GOOD,
      'dynamo_component_uptime_seconds{worker_id="a"} 6\n' + GOOD, ""),
     ('dynamo_component_uptime_seconds{worker_id="a"} 5\n' + GOOD,
      'dynamo_component_uptime_seconds{worker_id="b"} 6\n' + GOOD, "another process"),
     (f'{METRIC}_created{{model="m"}} 5\n' + GOOD, f'{METRIC}_created{{model="m"}} 6\n' + GOOD, "another")],
)  # fmt: skip
def test_pages_that_are_not_of_one_process_are_told(before: str, after: str, reason: str) -> None:
    told = broken(read_page(before), read_page(after))
    assert reason in told
    assert bool(reason) == bool(told)


def test_models_are_named_safely_and_not_all_of_them() -> None:
    assert name_models(["b", "a\x1b[31m", ""]) == "one without a name, 'a\\x1b[31m', 'b'"
    assert name_models(map(str, range(100, 250))).endswith("'109' and 140 more")
