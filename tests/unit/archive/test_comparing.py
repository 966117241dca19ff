"""Files of two sides held against each other, by name and by kind."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anarchy.archive.comparing import compare, differences
from anarchy.archive.zipped import Entry, open_archive, write_zip


def parquet(column: Any) -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"a": column}).to_parquet(buffer)
    return buffer.getvalue()


def test_what_one_side_has_alone_is_named(tmp_path: Path) -> None:
    there = ("tables/summary.csv", "tables/e/s.csv", "tables/e/old.tex", "figures/old.pdf", "claims.md")
    write_zip(tmp_path / "a.zip", [Entry(f"results/{name}", b"as drawn\n") for name in there])
    for name in ("tables/summary.csv", "tables/e/s.csv", "tables/e/new.tex", "claims.md"):
        file = tmp_path / "made" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("otherwise\n" if name.endswith("summary.csv") else "as drawn\n")
    with open_archive(tmp_path / "a.zip") as archive:
        found = {
            prefix: list(compare(archive, tmp_path / "made", prefix)) for prefix in ("tables/", "claims")
        }
    assert found == {
        "tables/": [
            "results/tables/e/new.tex: not in the archive",
            "results/tables/e/old.tex: archived, and not made again",
            "results/tables/summary.csv: line 1: as drawn; again otherwise",
        ],
        "claims": [],
    }


@pytest.mark.parametrize(
    ("name", "archived", "again", "said"),
    [
        ("a.csv", b"x\n1\n", b"x\n2\n", "line 2: 1; again 2"),
        ("a.md", b"x\n", b"x", "line 2: ; again (ended)"),
        ("a.tex", b"\xff", b"\xfe", "line 1"),
        ("a.svg", b"<text>1</text>", b"<text>2</text>", "comes out otherwise"),
        ("a.json", b'{"a": [1, 2]}', b'{"a": [1, 3]}', "a.1: 2; again 3"),
        ("a.json", b"[", b"[]", "cannot be read"),
        ("a.parquet", b"PAR1", parquet([1]), "cannot be read"),
        ("a.parquet", parquet([1.0]), parquet([np.nextafter(1.0, 2.0)]), "column a differs in 1 rows"),
        ("a.parquet", parquet([1]), parquet([1.0]), "column a holds int64; again float64"),
        ("a.parquet", parquet(np.array([], "i8")), parquet(np.array([], "f8")), "again float64"),
    ],
)
def test_a_difference_is_told(name: str, archived: bytes, again: bytes, said: str) -> None:
    (found,) = differences(name, archived, again)
    assert found.startswith(f"{name}: ")
    assert said in found


def test_a_picture_is_held_by_its_svg_alone() -> None:
    assert not list(differences("a.png", b"1", b"2"))
    assert not list(differences("a.json", b'{"a": 1}', b'{ "a":1 }'))
