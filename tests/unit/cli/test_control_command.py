"""The command `anarchy control --dry-run` on pages of every kind: what it says, logs and refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from anarchy.cli.control import LOOKS
from anarchy.cli.main import main
from anarchy.trace.control_log import read_log
from tests.helpers.metrics_pages import QUICK, SLOW, serving, times, ttft_text


def test_the_command_says_what_it_would_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "controller.jsonl"
    with serving(lambda number: ttft_text(times(QUICK, number))) as url:
        arguments = ("--prometheus", url, "--period", "0.3", "--polls", "10", "--log", str(log))
        assert main(["control", "--dry-run", *arguments, "--theta1", "0.1", "--theta2", "5"]) == 0
    told = capsys.readouterr().out
    assert "theta1 0.1 s, theta2 5 s; down again under 0.08 s and 4 s" in told
    assert "WOULD SWITCH below -> transition: tau 0.7, omega 1" in told
    assert "ended in regime transition; 1 switches" in told
    assert len(read_log(log).of("poll")) == 10


@pytest.mark.parametrize(
    ("options", "told"),
    [((), "not built yet"), (("--dry-run", "--theta1", "1"), "two numbers of seconds"),
     (("--dry-run", "--theta1", "1", "--theta2", "2", "--theta1-times", "3"), "two numbers of seconds"),
     (("--dry-run", "--theta1", "2", "--theta2", "1"), "theta1 is 2 s"),
     (("--dry-run", "--theta1", "nan", "--theta2", "1"), "theta1 is nan s"),
     (("--dry-run", "--theta1-times", "40"), "theta1 is 40"),
     (("--dry-run", "--period", "0"), "the period is 0"),
     (("--dry-run",), "gives no reading: ConnectionRefusedError")],
)  # fmt: skip
def test_the_command_refuses_before_it_starts(
    options: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = "http://127.0.0.1:1/metrics"
    assert main(["control", "--prometheus", closed, *options]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert "remedy:" in error


def control(url: str, *options: str) -> int:
    seconds = ("--theta1", "0.5", "--theta2", "2", "--period", "0.02", "--polls", "12")
    return main(["control", "--dry-run", "--prometheus", url, *seconds, *options])


def alternating(number: int) -> str:
    return ttft_text(times(SLOW, number + 90 * (number % 2)))


def twice(number: int) -> str:
    """From the first poll on each bucket stands on it twice."""
    return ttft_text(times(SLOW, number)) + (ttft_text([0] * 6) if number > LOOKS else "")


def another_model(number: int) -> str:
    return ttft_text(times(SLOW, number)) + (ttft_text([0] * 6, 'model="b"') if number > LOOKS else "")


@pytest.mark.parametrize(
    ("page", "reason"),
    [(lambda n: ttft_text([100 * n], edges=["+Inf"]), "missing: the only bucket is +Inf, which tells no P99"),
     (alternating, "counts fewer requests than before: it was restarted, or several processes answer here"),
     (twice, "stands twice"),
     (another_model, "name one with --model"),
     (lambda n: ttft_text([100 * n] * 2, edges=["100", "+Inf"]), "below the first edge, 100 s, and theta1"),
     (lambda n: ttft_text([0, 100 * n], edges=["1", "+Inf"]), "above the last edge, 1 s, and theta2 is 2 s"),
     (lambda _: "up 1\n", "missing: no dynamo_frontend_time_to_first_token_seconds on the page")],
)  # fmt: skip
def test_what_a_page_does_not_tell_is_said_and_logged_and_never_switches(
    page: Callable[[int], str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "controller.jsonl"
    with serving(page) as url:
        assert control(url, "--log", str(log)) == 0
    told = capsys.readouterr().out
    assert reason in told
    assert "WOULD SWITCH" not in told
    polls = read_log(log).of("poll")
    assert {poll["verdict"] for poll in polls} == {"missing"}
    assert any(reason.removeprefix("missing: ") in poll["reason"] for poll in polls)


def test_a_bound_above_both_thresholds_is_enough(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda number: ttft_text([0, 100 * number], edges=["10", "+Inf"])) as url:
        assert control(url, "--period", "0.3", "--polls", "5") == 0
    assert "WOULD SWITCH below -> saturated" in capsys.readouterr().out


def test_a_bound_makes_no_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(lambda n: ttft_text([0, 100 * n], edges=["1", "+Inf"])) as url:
        options = ("--period", "0.02", "--polls", "8", "--baseline-polls", "2")
        assert main(["control", "--dry-run", "--prometheus", url, *options]) == 0
    told = capsys.readouterr().out
    assert "above the last edge, 1 s, and it makes no baseline; baseline" in told
    assert "theta1" not in told


def test_several_models_are_refused_until_one_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    def page(number: int) -> str:
        return ttft_text(times(QUICK, number), 'model="a"') + ttft_text(
            times(SLOW, number), 'model="org/b}\x1b"'
        )

    with serving(page) as url:
        assert control(url) == 2
        assert "--prometheus: several models are served: 'a', 'org/b}\\x1b'" in capsys.readouterr().err
        assert control(url, "--model", "c") == 2
        assert "--model: no TTFT of 'c'; the pages show 'a', 'org/b}\\x1b'" in capsys.readouterr().err
        assert control(url, "--model", "a") == 0
    assert "above theta2" not in capsys.readouterr().out


def test_a_page_that_cannot_be_read_is_refused_before_the_first_poll(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving(lambda _: "<html><body>\x1b[31mIt works</body></html>") as url:
        assert control(url) == 2
    error = capsys.readouterr().err
    assert "its page cannot be read: no line of Prometheus' text format: '<html>" in error
    assert "\x1b" not in error
