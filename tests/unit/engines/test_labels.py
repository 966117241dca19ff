"""Labels: which of them are simulated, and how; those of several engines together."""

from __future__ import annotations

import pytest

from anarchy.engines.devices import common_label, is_live, is_simulated, is_virtual, labels_in
from anarchy.tables import engine_words

BOTH = common_label(["simulated in virtual time", "simulated"])


@pytest.mark.parametrize(
    ("label", "simulated", "virtual", "live"),
    [
        ("simulated", True, False, True),
        ("simulated in virtual time", True, True, False),
        (BOTH, True, True, True),
        ("B200", False, False, True),
        (common_label(["B200", "simulated"]), False, False, True),
        ("unknown (elsewhere)", False, False, True),
    ],
)
def test_what_a_label_names(label: str, simulated: bool, virtual: bool, live: bool) -> None:
    assert (is_simulated(label), is_virtual(label), is_live(label)) == (simulated, virtual, live)


def test_a_label_of_both_names_both() -> None:
    assert labels_in(BOTH) == ["simulated", "simulated in virtual time"]
    assert (
        common_label([BOTH, "B200", "simulated"]) == "mixed: B200 and simulated and simulated in virtual time"
    )


def test_numbers_in_virtual_time_follow_the_predicted_table_too() -> None:
    assert engine_words(["simulated in virtual time"], [1.0], ["quick"], ["within-run"]) == (
        "simulated in virtual time, predicted B200 timing table, tier quick, intervals: 95 % within-run"
    )
    assert engine_words([BOTH], [1.0, 3.0], ["quick"], []).startswith(
        "simulated engine, simulated in virtual time, model time dilated 1x to 3x, predicted B200"
    )
