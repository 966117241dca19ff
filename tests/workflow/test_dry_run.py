"""Every configuration plans, and a wrong one is refused before anything starts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.workflow.commands import Run


def jobs(told: str) -> Counter[str]:
    """Jobs of a dry run by kind: `estimate_ladder` and `estimate_stages` are both `estimate`."""
    pairs = [line.split() for line in told.splitlines() if len(line.split()) == 2]
    of_rules = {rule: int(count) for rule, count in pairs if count.isdigit()}  # the table is printed twice
    counts: Counter[str] = Counter()
    for rule, count in of_rules.items():
        counts[rule.split("_")[0]] += count
    return counts


@pytest.mark.parametrize(
    ("tier", "sweeps", "systems"),
    [
        ("smoke", 17, 13),
        ("live", 8, 6),
        ("quick", 119, 28),
        ("games", 20, 6),
        pytest.param("live-repeats", 33, 7, marks=pytest.mark.nightly),
        pytest.param("repeats", 370, 22, marks=pytest.mark.nightly),
        pytest.param("full", 54, 12, marks=pytest.mark.nightly),
    ],
)
def test_every_tier_plans_one_job_a_launch_of_a_routing(
    snakemake: Run, tier: str, sweeps: int, systems: int
) -> None:
    done = snakemake(f"tier={tier}", options=("-n",))
    assert done.returncode == 0, done.stderr
    counts = jobs(done.stdout + done.stderr)
    assert counts["sweep"] == sweeps
    assert counts["estimate"] == counts["notebook"] == systems
    assert counts["report"] == counts["claims"] == 1


def test_one_experiment_plans_e1_of_its_systems_and_nothing_else(snakemake: Run) -> None:
    """Its loads are multiples of a knee, which E1 has to tell first: visible before anything starts."""
    done = snakemake("experiments=pareto", "tier=live", options=("-n",))
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    counts = jobs(text)
    assert (counts["sweep"], counts["estimate"], counts["notebook"], counts["knee"]) == (3, 2, 1, 1)
    assert "the knee of nemotron-4-340b/1p2d, from E1" in text
    assert "estimating equilibrium/nemotron-4-340b/1p2d" in text
    assert "llama" not in text


def test_a_recorded_knee_needs_no_e1(snakemake: Run) -> None:
    done = snakemake("experiments=pareto", "tier=live", "knees=recorded", options=("-n",))
    assert done.returncode == 0, done.stderr
    counts = jobs(done.stdout + done.stderr)
    assert (counts["sweep"], counts["estimate"], counts["notebook"], counts["knee"]) == (2, 1, 1, 0)


def test_a_dry_run_freezes_nothing(snakemake: Run, tmp_path: Path) -> None:
    assert snakemake("experiments=pareto", options=("-n",)).returncode == 0
    assert not (tmp_path / "results").exists()


def test_one_model_plans_nothing_of_the_other(snakemake: Run) -> None:
    done = snakemake("tier=live-repeats", "models=llama-3.1-70b", options=("-n",))
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert "measuring llama-3.1-70b/1p5d/static, launch 3" in text
    assert "nemotron" not in text


@pytest.mark.parametrize(
    ("config", "what", "remedy"),
    [
        ("modles=llama-3.1-70b", "unknown key 'modles'", "did you mean 'models'?"),
        ("models=llama-3", "there is no model 'llama-3'", "llama-3.1-70b"),
        ("tier=fast", "no experiment has a tier 'fast'", "quick"),
        ("engine=cuda", "'engine'", "engine"),
        ("engine=virtual", "engine virtual cannot run cells in which C changes", "mocker"),
        ("experiments=equilibrum", "there is no experiment 'equilibrum'", "equilibrium"),
        ("seed=-1", "'seed'", "seed"),
        ("knees=guessed", "'knees'", "knees"),
        ("run=results/none.json", "there is no such run", "run snakemake"),
    ],
)
def test_a_wrong_choice_is_one_message_and_status_2(
    snakemake: Run, config: str, what: str, remedy: str
) -> None:
    done = snakemake(config, options=("-n",))
    assert done.returncode == 2
    assert what in done.stderr
    assert remedy in done.stderr.split("remedy:")[1]
    assert "Traceback" not in done.stderr


def test_the_command_line_refuses_in_the_same_words(anarchy: Run) -> None:
    done = anarchy("plan", "--models", "llama-3")
    assert done.returncode == 2
    assert "there is no model 'llama-3'" in done.stderr
    assert "remedy: known models" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", ["", "plan", "sweep", "knee", "serve", "estimate", "claims", "report", "doctor", "unlock"]
)
def test_help_teaches(anarchy: Run, command: str) -> None:
    done = anarchy(*command.split(), "--help")
    assert done.returncode == 0
    assert "usage: anarchy" in done.stdout
