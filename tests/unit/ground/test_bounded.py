"""Files are read within bounds, and what is beyond one is one message with file and key."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anarchy.ground.bounded import MAX_DEPTH, MAX_DIGITS, load_json, parse_json
from anarchy.ground.bounded_yaml import load_yaml
from anarchy.ground.errors import UserError
from anarchy.ground.layout import CONFIG, PROJECT


def message(read: Any, path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n  remedy: " in text
    return text


def doubling(levels: int, entry: str) -> str:
    lines = ["k0: &k0 {x: 1}"]
    lines += [f"k{i}: &k{i} {entry.replace('K', f'*k{i - 1}')}" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a: " + "[" * 3000 + "]" * 3000, f"nested more than {MAX_DEPTH} deep"),
        ("? " * 3000, f"nested more than {MAX_DEPTH} deep"),
        ("- " * 3000, f"nested more than {MAX_DEPTH} deep"),
        (doubling(30, "[K, K]"), "with every alias written out"),
        (doubling(30, "{<<: [K, K]}"), "with every alias written out"),
        ("a:\n  b: &c [*c]", "line 2: key 'a.b.0': alias *c stands inside of what it stands for"),
        ("a:\n  b: [1, " + "9" * 5000 + "]", "line 2: key 'a.b.1': a whole number of 5000 digits"),
        ("a: 0x" + "f" * 5000, "key 'a': a whole number of"),
        ("a: !!timestamp 2001-99-99", "key 'a': has the tag"),
        ('a: "\\e[31m"', "key 'a': text with the control character"),
        ('a: "\\ud800"', "invalid Unicode character escape"),
        ('a: "\\UFFFFFFFF"', "is not YAML"),
        ("a: 1\n---\nb: 2", "line 2: expected a single document"),
        ("a:\n\tb: 1", "line 2: "),
        ("a: 1\0", "is not YAML"),
        ("# nothing", "is empty"),
        ("- a", "is a list, not a mapping"),
        ("a: " + "x" * 200_000, "is longer than"),
    ],
)
def test_yaml_beyond_a_bound(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text)
    assert what in message(load_yaml, path)


def test_words_that_yaml_would_count_in_base_60_or_take_for_dates_stay_texts(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: 24:00:00\nb: 2026-11-28\nc: 1:30.5\nd: [-7, 0x10, 1_000, 1.5, .inf, true, null]")
    found = load_yaml(path)
    assert found == {
        "a": "24:00:00",
        "b": "2026-11-28",
        "c": "1:30.5",
        "d": [-7, 16, 1000, 1.5, float("inf"), True, None],
    }


def test_anchors_and_merges_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("a: &a {x: 1, z: 0}\nb: &b {<<: *a, x: 2}\nc: {<<: *b, z: 3}\nd: *a")
    assert load_yaml(path) == {
        "a": {"x": 1, "z": 0},
        "b": {"x": 2, "z": 0},
        "c": {"x": 2, "z": 3},
        "d": {"x": 1, "z": 0},
    }


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[" * 100_000, f"nested more than {MAX_DEPTH} deep"),
        ('{"a":' * 100_000, f"nested more than {MAX_DEPTH} deep"),
        ('{"a": {"b": [0, -' + "9" * 5000 + "]}}", "key 'a.b.1': a whole number of 5000 digits"),
        ('{"a": [NaN]}', "key 'a.0': NaN is not a number"),
        ('{"a": 1e999}', "key 'a': 1e999 is larger than"),
        ('{"a": 1, "a": 2}', "key 'a' stands there twice"),
        ('{"a": "\\ud800"}', "key 'a': \\ud800 is half of a character"),
        ("[1]", "is not a JSON object"),
        ("{", "is not JSON"),
        ('"' + '\\"' * 1_000_000, "is not JSON"),
    ],
)
def test_json_beyond_a_bound(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    assert what in message(load_json, path)


def test_json_within_bounds() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    brackets = '{"a": "' + "[" * 1000 + '\\"{"}'
    assert parse_json(deep)
    assert parse_json(brackets)["a"] == "[" * 1000 + '"{'
    assert parse_json("-" + "9" * MAX_DIGITS) == -int("9" * MAX_DIGITS)
    assert parse_json('"\\ud83d\\ude00"') == "\U0001f600"


@pytest.mark.parametrize("read", [load_yaml, load_json])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a: é".encode("utf-16"), "looks like UTF-16"),
        ("a: é".encode("utf-16-le"), "looks like UTF-16"),
        ("\n\na: é".encode("latin-1"), "byte 5, in line 3, is 0xe9"),
    ],
)
def test_other_encodings(tmp_path: Path, read: Any, content: bytes, what: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    text = message(read, path)
    assert what in text
    assert "iconv" in text


def test_the_mark_of_utf_8_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes('\ufeff{"a": 1}'.encode())
    assert load_json(path) == load_yaml(path) == {"a": 1}


@pytest.mark.parametrize("read", [load_yaml, load_json])
def test_what_is_no_file(tmp_path: Path, read: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "a named pipe, not a file" in message(read, tmp_path / "pipe")
    assert "a folder, not a file" in message(read, tmp_path)
    assert "a device, not a file" in message(read, Path("/dev/zero"))
    assert "does not exist" in message(read, tmp_path / "none")
    assert "too long" in message(read, tmp_path / ("x" * 300))
    (tmp_path / "file").touch()
    assert "Not a directory" in message(read, tmp_path / "file" / "below")


@pytest.mark.parametrize("libyaml", [True, False])
def test_a_study_is_read_alike_with_and_without_libyaml(libyaml: bool) -> None:
    code = (
        f"import yaml; yaml.__with_libyaml__ = {libyaml}\n"
        "from anarchy.ground import bounded_yaml\n"
        "from anarchy.ground.layout import CONFIG\n"
        "print(bounded_yaml._SafeLoader.__name__)\n"
        "print([bounded_yaml.load_yaml(file) for file in sorted(CONFIG.rglob('*.yaml'))])"
    )
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    loader, told = done.stdout.splitlines()
    assert loader == ("CSafeLoader" if libyaml else "SafeLoader")
    assert told == str([load_yaml(file) for file in sorted(CONFIG.rglob("*.yaml"))])
