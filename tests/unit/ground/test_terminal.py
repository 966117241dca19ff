"""Nothing that others named is obeyed by a terminal."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from anarchy.ground.errors import LONGEST, UserError
from anarchy.ground.terminal import VisibleOutput, visible

HOSTILE = "a\x1b[31mb\x9b1m\u202ec\u2066\ufeff\u2028\ud800\U000e0041\x7f\r\n\0"


def test_what_a_terminal_would_obey_is_shown() -> None:
    shown = visible(HOSTILE)
    assert shown.isprintable()
    assert shown == (r"a\x1b[31mb\x9b1m\u202ec\u2066\ufeff\u2028\ud800\U000e0041\x7f\r\n\x00")
    assert visible(shown) == shown


@pytest.mark.parametrize(
    "text", ["plain", "PoA-hat 1.02 [1.00, 1.03]", "tau = \u03c4, \u65e5\u672c, \u00e9\u2009\u2500"]
)
def test_what_has_a_picture_stays(text: str) -> None:
    assert visible(text) == text


def test_a_message_is_safe_and_short() -> None:
    error = UserError(HOSTILE + "x" * 5000, where=HOSTILE, remedy=f"not {HOSTILE}, but", options=[HOSTILE])
    lines = str(error).split("\n")
    assert all(line.isprintable() for line in lines)
    assert lines[1].startswith("  remedy: not a")
    assert lines[2].startswith("    a")
    assert len(lines) == 3
    assert len(lines[0]) < LONGEST + 200


def test_the_output_shows_them_too_and_whatever_its_encoding_lacks() -> None:
    raw = io.BytesIO()
    output = VisibleOutput(io.TextIOWrapper(raw, encoding="ascii"))
    print(f"{HOSTILE}\u2500", file=output)
    output.flush()
    assert raw.getvalue().startswith(rb"a\x1b[31mb")
    assert raw.getvalue().endswith(b"\\r\n\\x00\\u2500\n")


def test_an_output_that_takes_no_more_is_one_message() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "anarchy.cli.main", "plan", "--tier", "smoke"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 2
    assert done.stderr.count("remedy:") == 1
    assert "stdout: cannot be written: No space left on device" in done.stderr


def test_no_output_at_all_is_none_of_our_business() -> None:
    closed = [sys.executable, "-m", "anarchy.cli.main", "plan", "--tier", "smoke"]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *closed], stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")
