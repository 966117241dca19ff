"""Every configuration plans, and a wrong one is refused before anything starts."""

from __future__ import annotations

from collections import Counter

import pytest
from commands import Run


def jobs(told: str) -> Counter[str]:
    """Jobs of a dry run by kind: `estimate_ladder` and `estimate_stages` are both `estimate`."""
    pairs = [line.split() for line in told.splitlines() if len(line.split()) == 2]
    of_rules = {rule: int(count) for rule, count in pairs if count.isdigit()}  # the table is printed twice
    counts: Counter[str] = Counter()
    for rule, count in of_rules.items():
        counts[rule.split("_")[0]] += count
    return counts


@pytest.mark.parametrize(
    ("tier", "sweeps", "systems"), [("smoke", 8, 6), ("quick", 8, 6), ("repeats", 33, 7), ("full", 54, 12)]
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


def test_one_experiment_plans_nothing_of_the_others(snakemake: Run) -> None:
    done = snakemake("experiments=pareto", options=("-n",))
    assert done.returncode == 0, done.stderr
    counts = jobs(done.stdout + done.stderr)
    assert (counts["sweep"], counts["estimate"], counts["notebook"]) == (2, 1, 1)


def test_one_model_plans_nothing_of_the_other(snakemake: Run) -> None:
    done = snakemake("tier=full", "models=llama-3.1-70b", options=("-n",))
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
        ("experiments=equilibrum", "there is no experiment 'equilibrum'", "equilibrium"),
        ("seed=-1", "'seed'", "seed"),
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
    "command", ["", "plan", "sweep", "serve", "estimate", "claims", "report", "doctor", "unlock"]
)
def test_help_teaches(anarchy: Run, command: str) -> None:
    done = anarchy(*command.split(), "--help")
    assert done.returncode == 0
    assert "usage: anarchy" in done.stdout
