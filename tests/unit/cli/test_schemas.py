"""JSON Schemas follow the models, and the shipped files follow the schemas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from anarchy.cli import schemas
from anarchy.config import BLOCKS, Model
from anarchy.config.files import load_study
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG, MANIFEST_FILE, SCHEMAS
from tests.helpers.trace_samples import sealed
from tests.helpers.warm import run_python

FOLDERS = {
    "models": "model",
    "topologies": "topology",
    "policies": "policy",
    "workloads": "workload",
    "experiments": "experiment",
}
FILES = sorted(CONFIG.rglob("*.yaml"))


def validator(name: str, directory: Path = SCHEMAS) -> jsonschema.Draft202012Validator:
    schema = json.loads((directory / schemas.file_name(name)).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def block_of(file: Path) -> str:
    return FOLDERS.get(file.parent.name, file.stem)


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def test_the_files_are_those_of_the_models() -> None:
    assert schemas.drift() == []


def test_write_is_stable_and_complete(tmp_path: Path) -> None:
    files = schemas.write(tmp_path)
    assert {file.name for file in files} == {f"{name}.schema.json" for name in schemas.MODELS}
    first = {file.name: file.read_bytes() for file in files}
    schemas.write(tmp_path)
    assert first == {file.name: file.read_bytes() for file in files}
    assert schemas.drift(tmp_path) == []


def test_drift_tells_what_is_missing_stale_or_left_over(tmp_path: Path) -> None:
    schemas.write(tmp_path)
    (tmp_path / "run.schema.json").unlink()
    (tmp_path / "old.schema.json").write_text("{}")
    stale = tmp_path / "model.schema.json"
    stale.write_text(stale.read_text().replace("dilation", "dilatation"))
    assert schemas.drift(tmp_path) == [
        "run.schema.json is missing",
        "old.schema.json belongs to no model",
        "model.schema.json differs from its model; run `make schemas`",
    ]


def test_drift_sees_a_changed_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schemas.write(tmp_path)

    class Wider(Model):
        """A served model and one more key."""

        extra: int = 0

    monkeypatch.setitem(schemas.MODELS, "model", Wider)
    assert schemas.drift(tmp_path) == ["model.schema.json differs from its model; run `make schemas`"]


def test_the_module_writes_where_it_is_told(tmp_path: Path) -> None:
    run_python("-m", "anarchy.cli.schemas", tmp_path, timeout=600).check_returncode()
    assert schemas.drift(tmp_path) == []


def test_write_tells_a_folder_that_may_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(UserError, match="may not be written"):
        schemas.write(tmp_path)


def test_there_is_a_shipped_file_for_every_block() -> None:
    assert {block_of(file) for file in FILES} == {*BLOCKS, "knees"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIG)))
def test_shipped_configuration_validates(file: Path) -> None:
    validator(block_of(file)).validate(load(file))


def test_the_study_as_the_workflow_hands_it_on_validates() -> None:
    """Every default filled in, null where a key does not apply."""
    study = load_study(CONFIG)
    for kind in ("models", "topologies", "policies", "workloads", "experiments"):
        for block in getattr(study, kind).values():
            validator(FOLDERS[kind]).validate(block.model_dump(mode="json"))


@pytest.mark.parametrize(
    "routing",
    [
        ["static"],
        {"a": {"policies": ["static"]}},
        {"a": {"grid": {"tau": [0], "omega": [1], "way": "pinned"}}},
    ],
)
def test_every_form_of_a_routing_validates(routing: object) -> None:
    document = load(CONFIG / "experiments" / "equilibrium.yaml")
    validator("experiment").validate(document | {"routing": routing})


@pytest.mark.parametrize(
    "routing", [[], "static", {"a": {"policy": []}}, {"a": {"grid": {"tau": [-1], "omega": [1]}}}]
)
def test_a_bad_routing_does_not_validate(routing: object) -> None:
    document = load(CONFIG / "experiments" / "equilibrium.yaml")
    assert not validator("experiment").is_valid(document | {"routing": routing})


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(CONFIG)))
def test_an_unknown_key_does_not_validate(file: Path) -> None:
    """Of a policy none of the kinds takes it."""
    with pytest.raises(jsonschema.ValidationError, match=r"'zzz' was unexpected|'zzz': 1\} is not valid"):
        validator(block_of(file)).validate(load(file) | {"zzz": 1})


@pytest.mark.parametrize("grid", [[0], ["8"], [8.5], [8, 8], 8, [True]])
def test_a_bad_grid_does_not_validate(grid: object) -> None:
    document = load(CONFIG / "experiments" / "equilibrium.yaml")
    document["tiers"]["quick"]["concurrency"] = grid
    assert not validator("experiment").is_valid(document)


@pytest.mark.parametrize("models", ["llama-3.1-70b", ["llama-3.1-70b"], []])
def test_the_choices_of_a_command_line_validate(models: object) -> None:
    validator("run").validate({"models": models})


def test_a_sealed_manifest_validates(tmp_path: Path) -> None:
    sealed(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST_FILE).read_text())
    validator("manifest").validate(manifest)
    assert not validator("manifest").is_valid(manifest | {"concurrency": 0})


def keys_without_description(schema: dict[str, Any]) -> list[str]:
    models = [schema, *schema.get("$defs", {}).values()]
    assert all("description" in model for model in models)
    return [
        key for model in models for key, entry in model["properties"].items() if "description" not in entry
    ]


def test_descriptions_are_the_docstrings() -> None:
    assert validator("model").schema["description"] == Model.__doc__
    dilation = validator("model").schema["properties"]["dilation"]
    assert dilation["description"] == "Simulated engines only: wall seconds for one model second."
    assert "title" not in dilation
    assert "dilation" not in keys_without_description(validator("manifest").schema)
