"""The configuration: every kind of its files, and what `--config` gives."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

import yaml
from hypothesis import strategies as st

from anarchy.claims.model import Claims
from anarchy.claims.verdicts import CLAIMS_FILE
from anarchy.config import BLOCKS, Choices, Experiment, Study
from anarchy.config.checks import check_experiment
from anarchy.config.files import load_block, load_study, validate
from anarchy.config.knees import load_knees
from anarchy.config.site import load_site
from anarchy.engines.profiles import Profile, load_profile
from anarchy.ground.bounded import parse_json
from anarchy.ground.layout import CONFIG, PROFILES, PROJECT
from anarchy.plan.resolve import resolve
from anarchy.plan.run import DIGITS, digest_of
from anarchy.plan.workbench import open_run
from tests.fuzz.fuzz_command import command
from tests.fuzz.mutate import bombs, documents, spoiled, write_yaml

FOLDERS: Final = {
    "model": "models",
    "topology": "topologies",
    "policy": "policies",
    "workload": "workloads",
    "experiment": "experiments",
}


def config_inputs() -> st.SearchStrategy[bytes]:
    """Files of the configuration; the first line says of which kind."""
    files = [*sorted(CONFIG.rglob("*.yaml")), CLAIMS_FILE]
    texts = [(_kind(file), file.read_text(encoding="utf-8")) for file in files]
    return st.one_of(
        *(
            st.one_of(documents(_parsed(text), write_yaml), spoiled(text.encode()), bombs).map(
                partial(_labelled, kind)
            )
            for kind, text in texts
        )
    )


def _parsed(text: str) -> Any:
    """A good file, with dates as the texts that they are."""
    return yaml.load(text, Loader=yaml.BaseLoader) if "date:" in text else yaml.safe_load(text)


def _kind(file: Path) -> str:
    if file.parent in (CONFIG, CLAIMS_FILE.parent):
        return file.stem
    return next(kind for kind, folder in FOLDERS.items() if folder == file.parent.name)


def _labelled(kind: str, content: bytes) -> bytes:
    return kind.encode() + b"\n" + content


@cache
def study() -> Study:
    """The project's own study."""
    return load_study(CONFIG)


@cache
def profiles() -> dict[str, Profile]:
    """Its timing tables."""
    return {model.profile: load_profile(PROFILES / model.profile) for model in study().models.values()}


def read_config(path: Path) -> bool:
    """A file of the configuration: into its model, into the study, and planned."""
    kind, _, content = path.read_bytes().partition(b"\n")
    path.write_bytes(content)
    name = kind.decode()
    if name == "claims":
        load_block(path, Claims)
        return True
    if name == "knees":
        load_knees(path, study().models, study().topologies)
        return True
    block: Any = load_block(path, BLOCKS[name])
    if isinstance(block, Choices):
        resolve(study(), validate(block.model_dump(), Choices, where="--config"), profiles())
        return True
    changed = study().model_copy(update=_known(name, block))
    for experiment in changed.experiments.values():
        check_experiment(changed, experiment, path)
    tried = block if isinstance(block, Experiment) else changed.experiments["equilibrium"]
    tier = next(iter(tried.tiers))
    resolve(changed, Choices(tier=tier, experiments=(tried.name,)), profiles())
    return True


def read_overrides(path: Path) -> bool:
    """What `--config` gives: any values under the keys of a run."""
    given = json.loads(path.read_bytes())
    choices = validate({**Choices().model_dump(), **given}, Choices, where="--config")
    resolve(study(), choices, profiles())
    return True


@cache
def frozen() -> dict[str, Any]:
    """A frozen run of every design, as its document."""
    return open_run({"tier": "smoke", "experiments": "all"}).run.document


def read_frozen(path: Path) -> bool:
    """A frozen run under the name that its content gives it, as one would be that was made by hand."""
    try:
        digest = digest_of(parse_json(path.read_bytes().decode("utf-8")))
    except (ValueError, TypeError, AttributeError):
        digest = "0" * DIGITS
    path = path.rename(path.with_name(f"{digest}.json"))
    return command("plan", "--cost", "--run", path)


def _known(kind: str, block: Any) -> dict[str, Any]:
    """The part of the study that a block belongs to, with the block in it."""
    if kind == "cluster":
        return {"cluster": block}
    return {FOLDERS[kind]: {**getattr(study(), FOLDERS[kind]), block.name: block}}


def overrides_inputs() -> st.SearchStrategy[bytes]:
    values = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=50),
        st.lists(st.text(max_size=5), max_size=5),
        st.sampled_from(
            ["smoke", "quick", "all", "equilibrium", "llama-3.1-70b", "1p2d", "builtin", ",", "a,b"]
        ),
        st.sampled_from([0, 7, 2**63 - 1, 2**63, "README.md/x", "mocker", "vllm", "local", "slurm"]),
    )
    keys = st.sampled_from([*Choices.model_fields, "unknown"])
    return st.dictionaries(keys, values, min_size=1, max_size=4).map(lambda given: json.dumps(given).encode())


def site_inputs() -> st.SearchStrategy[bytes]:
    """Site files, from the example of the project."""
    text = (PROJECT / "slurm" / "site.example.yaml").read_text(encoding="utf-8")
    return st.one_of(documents(yaml.safe_load(text), write_yaml), spoiled(text.encode()), bombs)


def read_site(path: Path) -> bool:
    """A site file."""
    load_site(path)
    return True
