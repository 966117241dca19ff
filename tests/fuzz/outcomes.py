"""What came of each input: counted, watched for hanging, and kept as a file where it broke something."""

from __future__ import annotations

import datetime
import os
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

from anarchy.ground.errors import UserError
from anarchy.ground.layout import PROJECT
from anarchy.report.run_info import commit
from tests.fuzz.targets import Target

TIMES: Final = int(os.environ.get("FUZZ_TIMES", "1"))
"""How many times as many inputs as in `make test`."""
REPORT: Final = os.environ.get("FUZZ_REPORT", "")
"""File that tells of the run, relative to the project; empty for none."""
HANGS_AFTER_S: Final = 120
"""Seconds of this process's own CPU time for one input of some kilobytes: a watchdog, no measure of speed."""
FAILED: Final = PROJECT / "tests" / "fuzz" / "failed"
OUTCOMES: Final = ("accepted", "refused", "tracebacks", "hangs")

counts: dict[str, Counter[str]] = {}
"""By target: how often each outcome came."""


class HangError(BaseException):
    """An input took longer than any input may."""


def attempt(target: Target, content: bytes) -> None:
    """Give one input to its reader and count what came of it; whatever is no refusal is raised on."""
    outcome = "tracebacks"
    try:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, _watched():
            path = Path(folder) / target.file
            path.write_bytes(content)
            try:
                outcome = "accepted" if target.read(path) else "refused"
            except UserError as error:
                _check_message(error)
                outcome = "refused"
    except HangError:
        outcome = "hangs"
        raise
    finally:
        counts.setdefault(target.name, Counter())[outcome] += 1
        if outcome in ("tracebacks", "hangs"):
            # Hypothesis ends with the smallest input that fails, so that the last one stays.
            FAILED.mkdir(exist_ok=True)
            (FAILED / target.name.replace(" ", "-")).write_bytes(content)


def _check_message(error: UserError) -> None:
    text = str(error)
    assert error.remedy, text
    assert error.where is not None, f"names no file: {text[:500]}"
    assert all(line.isprintable() for line in text.split("\n")), f"{text[:500]!r}"


@contextmanager
def _watched() -> Iterator[None]:
    def hangs(_signal: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, hangs)
    signal.setitimer(signal.ITIMER_PROF, HANGS_AFTER_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def report(seconds: float) -> str:
    """The page that tells of the last run."""
    names = ("tried", *OUTCOMES)
    rows = {name: [sum(count.values()), *(count[one] for one in OUTCOMES)] for name, count in counts.items()}
    rows["in all"] = [sum(column) for column in zip(*rows.values(), strict=True)]
    table = [
        f"| {' | '.join(('files', *names))} |",
        f"|---|{'---:|' * len(names)}",
        *(
            f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |"
            for name, numbers in rows.items()
        ),
    ]
    day = datetime.datetime.now(datetime.UTC).date()
    return PAGE.format(day=day, commit=commit() or "unknown", seconds=round(seconds), table="\n".join(table))


PAGE: Final = """\
# Fuzzing

Whatever a file holds, a command ends with numbers, or with exit status 2 and one message that names the
file and the key. `tests/fuzz` tries it: files of every kind that a command reads are spoiled by their
structure, by their bytes, or were never good; each is read in a folder of its own. An input counts as

- **accepted**: it was read, and everything that was said of it is plain text,
- **refused**: one message with file and remedy, nothing left behind, no control character in it,
- **traceback**: anything else that came out; the smallest such input is kept in `tests/fuzz/failed`,
- **hang**: two minutes of CPU time for one input.

`make test` tries about 4,000 inputs, the same ones each time; `make fuzz`, for a nightly run, tries
others each time and writes this page. `tests/fuzz/targets.py` names each kind of file and its reader.
What is refused rests on bounds of bytes, depth, digits and counts, with their reasons in
`scripts/anarchy/ground/bounded.py`, `bounded_yaml.py` and `config_values.py`. Output of `sinfo` counts as
accepted where the partition is fit for the study, a page of metrics where it gave a count of requests.

## The last run

{day}, commit {commit}, {seconds} s on one core.

{table}
"""
