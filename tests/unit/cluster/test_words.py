"""Slurm's own words: states of nodes, generic resources, times and sizes of memory."""

from __future__ import annotations

import pytest

from anarchy.config.site_words import NodeUse, gpus_of, is_unlimited, megabytes_of, minutes_of, node_use


@pytest.mark.parametrize(
    "state",
    [
        *("idle", "mixed", "allocated", "allocated+", "completing", "planned", "blocked", "mixed-", "idle~"),
        *("idle#", "idle%", "idle!", "mixed~", "alloc", "mix", "comp", "plnd", "powered_down", "MIXED"),
        *("MIXED+PLANNED", "IDLE+CLOUD+POWERED_DOWN", " idle "),
    ],
)
def test_states_in_which_a_node_takes_jobs(state: str) -> None:
    assert node_use(state) is NodeUse.RUNS


@pytest.mark.parametrize(
    "state",
    [
        *(
            "down",
            "down*",
            "down~",
            "drained",
            "draining",
            "drained*",
            "draining@",
            "drng",
            "fail",
            "failing",
        ),
        *("maint", "maint*", "MAINT", "mixed$", "allocated$", "reboot", "reboot^", "boot^", "mixed@"),
        *("mixed^", "idle*", "completing*", "inval", "unknown", "future", "error", "idle~*"),
        *("IDLE+DRAIN", "IDLE+MAINTENANCE+RESERVED", "MIXED+REBOOT_REQUESTED", "DOWN+NOT_RESPONDING"),
    ],
)
def test_states_in_which_it_takes_none(state: str) -> None:
    assert node_use(state) is NodeUse.OUT


@pytest.mark.parametrize("state", ["", "?", "zombie", "idle+zombie", "*", "+", "idle|drained"])
def test_a_state_that_is_not_known_is_not_taken_for_a_good_one(state: str) -> None:
    assert node_use(state) in (NodeUse.UNHEARD, NodeUse.OUT)


def test_reserved_nodes_are_neither() -> None:
    assert node_use("reserved") is node_use("RESV") is node_use("IDLE+RESERVED") is NodeUse.RESERVED


@pytest.mark.parametrize(
    ("gres", "name", "count"),
    [
        ("gpu:b200:8(S:0-1)", "gpu:b200", 8),
        ("gpu:b200:8(IDX:0-7),shard:32,mps:800", "gpu", 8),
        ("gpu:turing:2(S:0),gpu:ampere:6(S:1)", "gpu", 8),
        ("gpu:turing:2(S:0),gpu:ampere:6(S:1)", "gpu:ampere", 6),
        ("gpu:b200:4(S:0),gpu:b200:4(S:1)", "gpu:b200", 8),
        ("gpu:8", "gpu", 8),
        ("gpu:8", "gpu:b200", 0),
        ("gpu:b200:no_consume:8", "gpu:b200", 8),
        ("gpu_memory:80,gpu:2", "gpu", 2),
        ("gpu:b2000:8", "gpu:b200", 0),
        ("(null)", "gpu", 0),
        ("gpu:" + "9" * 5000, "gpu", 0),
    ],
)
def test_gpus_are_counted_by_name_and_type(gres: str, name: str, count: int) -> None:
    assert gpus_of(gres, name) == count


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        *(("90", 90), ("90:30", 90), ("24:00:00", 1440), ("1:02:03", 62), ("2-00", 2880), ("1-12:30", 2190)),
        *(("1-12:30:59", 2190), ("0:59", 0), (" 30 ", 30)),
        *(("", None), ("24h", None), ("1-", None), ("-1", None), ("1:2:3:4", None), ("9" * 5000, None)),
        *(("infinite", None), ("1.5", None), ("٣", None)),
    ],
)
def test_times(text: str, minutes: int | None) -> None:
    assert minutes_of(text) == minutes


def test_no_limit() -> None:
    assert is_unlimited("infinite")
    assert is_unlimited("UNLIMITED")
    assert not is_unlimited("90")


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [
        *(("512000", 512_000), ("512000M", 512_000), ("500G", 512_000), ("2T", 2_097_152), ("1k", 1)),
        *(("0", 0), ("1025K", 2), ("2000GB", None), ("1.5G", None), ("", None), ("G", None), ("-1", None)),
    ],
)
def test_sizes_of_memory(text: str, megabytes: int | None) -> None:
    assert megabytes_of(text) == megabytes
