"""Estimates are read back in the order that their design names."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from anarchy.designs.design import Design
from anarchy.designs.loading import load_systems
from anarchy.designs.registry import designs
from tests.helpers.synthetic_estimates import write_results


@pytest.mark.parametrize("design", designs(), ids=lambda design: design.name)
def test_sort_keys_are_columns_of_its_tables(design: Design) -> None:
    tables = design.part("columns").TABLES
    assert set(design.sort_keys) <= set(tables)
    assert all(set(keys) <= set(tables[stem].names) for stem, keys in design.sort_keys.items())


def test_rows_of_the_ladder_are_in_its_order_however_they_were_written(tmp_path: Path) -> None:
    layout = write_results(tmp_path)
    before = load_systems(layout, "equilibrium")
    for folder in layout.estimated("equilibrium"):
        file = folder / "cells.parquet"
        table = pq.read_table(file)
        pq.write_table(table.take(list(reversed(range(table.num_rows)))), file)
    for system, again in zip(before, load_systems(layout, "equilibrium"), strict=True):
        pd.testing.assert_frame_equal(again.frames["cells"], system.frames["cells"])
        place = system.frames["cells"]["workload"].map(list(system.info["workloads"]).index)
        rows = list(zip(place, system.frames["cells"]["concurrency"], strict=True))
        assert rows == sorted(rows)
        assert len(rows) > 2
