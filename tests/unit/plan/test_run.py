"""A frozen run: whole, written once, the same for everybody who reads it, and refused where it was edited."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anarchy.cli.main import build_parser
from anarchy.cli.main import main as anarchy
from anarchy.config import Choices
from anarchy.config.loads import Knee
from anarchy.ground.errors import UserError
from anarchy.plan.binding import bind
from anarchy.plan.run import read_run
from anarchy.plan.workbench import Workbench, open_frozen, open_run
from anarchy.report.run_info import run_info

LLAMA = "llama-3.1-70b"
KNEE = Knee(100, (64, 128, 256))


def chosen(results: Path, **choices: Any) -> Workbench:
    return open_run({"tier": "smoke", "experiments": ["all"], "results": str(results), **choices})


def hashes(bench: Workbench) -> dict[tuple[Any, ...], str]:
    plans = [bind(one, KNEE, bench.profiles[one.model.profile]) for one in bench.deployments]
    return {
        (*plan.key, cell.name, place): cell.plan_hash
        for plan in plans
        for place, cell in enumerate(plan.cells)
    }


@pytest.mark.parametrize("tier", ["smoke", "live", "quick", "full"])
def test_what_is_read_back_is_what_was_planned(tmp_path: Path, tier: str) -> None:
    """Every deployment, every cell in its order, seeds and hashes: the YAML is not looked at again."""
    bench = chosen(tmp_path, tier=tier, seed=3)
    frozen = open_frozen(bench.freeze())
    assert frozen.run == bench.run
    assert frozen.deployments == bench.deployments
    assert hashes(frozen) == hashes(bench)
    assert frozen.path == bench.path


def test_a_run_serves_each_system_at_its_own_dilation(tmp_path: Path) -> None:
    """What a system says comes before what its set says."""
    bench = chosen(tmp_path, tier="quick", experiments=["adaptive", "engines"])
    served = {one.key[:4]: one.model.dilation for one in bench.deployments}
    assert served[("adaptive", LLAMA, "1p2d", "builtin")] == 3.0
    assert served[("adaptive", LLAMA, "1p5d", "builtin")] == 4.5
    assert served[("engines", LLAMA, "1p5d", "live")] == 6.0
    assert served[("engines", "nemotron-4-340b", "1p2d", "live")] == 3.0
    assert served[("engines", "nemotron-4-340b", "1p2d", "virtual")] == 1.0


def test_a_run_is_written_once_and_named_the_latest(tmp_path: Path) -> None:
    first = chosen(tmp_path)
    path = first.freeze()
    text, written = path.read_text(), path.stat().st_mtime_ns
    assert chosen(tmp_path).freeze() == path
    assert path.stat().st_mtime_ns == written
    second = chosen(tmp_path, seed=1, models="llama-3.1-70b").freeze()
    assert second != path
    assert path.read_text() == text, "what waits in a queue reads what it was submitted with"
    latest = first.layout.latest_run
    assert json.loads(latest.read_text()) == {"run": second.stem, "file": f"runs/{second.name}"}
    assert open_frozen(latest).choices.seed == 1
    assert not list(tmp_path.rglob("*.partial"))


def test_every_default_and_every_load_stands_there(tmp_path: Path) -> None:
    document = json.loads(chosen(tmp_path).freeze().read_text())
    assert document["choices"].keys() == Choices.model_fields.keys()
    assert document["choices"]["knees"] == "measured"
    assert document["versions"].keys() == {"anarchy", "serving"}
    assert set(document["study"]["experiments"]["adaptive"]["tiers"]) == {"smoke"}
    stages = document["study"]["experiments"]["adaptive"]["tiers"]["smoke"]["stages"]
    assert [stage["knee_times"] for stage in stages] == [0.4, 2.0, 0.2]
    for deployment in document["deployments"]:
        assert deployment["predicted"]["at_most_s"] >= deployment["predicted"]["wall_s"] > 0
        assert deployment["cells"]


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda d: d["choices"].update(seed=9), "was edited: its content has the digest"),
        (lambda d: d["deployments"].pop(), "was edited"),
        (lambda d: d.update(format=0), "is not a frozen run of format 1"),
        (lambda d: d.pop("format"), "is not a frozen run of format 1"),
    ],
)
def test_an_edited_run_is_refused(tmp_path: Path, edit: Any, what: str) -> None:
    bench = chosen(tmp_path)
    path = bench.freeze()
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))
    for again in (lambda: open_frozen(path), bench.freeze):
        with pytest.raises(UserError, match=what) as caught:
            again()
        assert caught.value.where == path
        assert "snakemake" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "what"), [(None, "no such run"), ("{", "is not JSON"), ("[]", "is not a JSON object")]
)
def test_what_is_no_run(tmp_path: Path, text: str | None, what: str) -> None:
    path = tmp_path / "0123456789abcdef.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=what):
        read_run(path)


def test_a_timing_table_of_another_run_is_refused(tmp_path: Path) -> None:
    bench = chosen(tmp_path)
    run = bench.run.model_copy(update={"profiles": dict.fromkeys(bench.run.profiles, "another")})
    other = replace(bench, run=run)
    with pytest.raises(UserError, match="timing table is not the one that this run was frozen with"):
        open_frozen(other.freeze())


def test_a_run_of_an_older_model_names_the_key(tmp_path: Path) -> None:
    from anarchy.plan.run import digest_of

    document = json.loads(chosen(tmp_path).freeze().read_text())
    document["choices"]["colour"] = "blue"
    path = tmp_path / f"{digest_of(document)}.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=r"another version of this project: key choices\.colour"):
        read_run(path)


def test_no_document_names_the_user_or_the_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are shown to others: accounts, weights and homes stay in the site file."""
    home = tmp_path / "home" / "jdoe"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LOGNAME", "jdoe")
    site = home / "site.yaml"
    keys: dict[str, Any] = {"partition": "p", "interface": "lo", "account": "secret-account"}
    keys |= {"models": {LLAMA: "/data/jdoe/w"}}
    site.write_text(json.dumps({**keys, "serving_python": str(home / "python")}))
    choices = {"engine": "vllm", "experiments": ["adaptive"], "site": str(site), "results": str(home / "r")}
    bench = open_run(choices)
    path = bench.freeze()
    assert path.is_relative_to(home / "r")
    text = path.read_text() + json.dumps(bench.served(bench.asked[0]))
    for word in ("jdoe", "secret-account", str(home)):
        assert word not in text
    frozen = open_frozen(path)
    assert frozen.choices == bench.choices
    assert hashes(frozen) == hashes(bench)
    site.write_text(json.dumps(keys | {"serving_python": "/other/python"}))
    with pytest.raises(UserError, match="the site file is not the one that this run was frozen with"):
        open_frozen(path)


# --- the choices, written down once ---


def test_every_choice_is_an_option_of_the_command_line() -> None:
    options = vars(build_parser().parse_args(["plan"]))
    assert Choices.model_fields.keys() <= options.keys()
    given = build_parser().parse_args(["plan", "--seed", "3", "--knees", "recorded", "--sets", "builtin"])
    assert (given.seed, given.knees, given.sets, given.tier) == (3, "recorded", "builtin", None)


def test_a_frozen_run_takes_no_other_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = chosen(tmp_path).freeze()
    assert anarchy(["plan", "--run", str(path), "--seed", "3"]) == 2
    assert "names a frozen run, which --seed cannot change" in capsys.readouterr().err
    assert anarchy(["plan", "--run", str(path)]) == 0
    assert "knee of nemotron-4-340b/1p2d: C = 87, the recorded one" in capsys.readouterr().out


def test_a_plan_names_what_is_measured_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert anarchy(["plan", "--experiments", "adaptive"]) == 0
    assert "measured first, for its knee: equilibrium llama-3.1-70b/1p2d/static/1" in capsys.readouterr().out
    assert anarchy(["plan", "--experiments", "adaptive", "--knees", "recorded"]) == 0
    told = capsys.readouterr().out
    assert "measured first" not in told
    assert "C = 162, recorded: E1 at tier quick, commit f607684, engine mocker" in told


def test_a_report_tells_the_choices_as_make_takes_them(tmp_path: Path) -> None:
    bench = chosen(tmp_path, tier="live", models="llama-3.1-70b", knees="recorded", seed=2)
    told = run_info(bench, [])
    assert told["run"] == bench.run.digest
    assert set(told["command"].split()) == {
        *("make", "reproduce", "TIER=live", "MODELS=llama-3.1-70b", "KNEES=recorded", "SEED=2")
    }


@pytest.mark.parametrize("experiments", ["equilibrium", "saturation,pareto"])
def test_a_report_tells_the_experiments_of_its_run(tmp_path: Path, experiments: str) -> None:
    """`make reproduce` without them measures every one."""
    command = run_info(chosen(tmp_path, experiments=experiments), [])["command"]
    assert set(command.split()) == {"make", "reproduce", "TIER=smoke", f"EXPERIMENTS={experiments}"}
