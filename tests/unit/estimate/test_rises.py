"""PoA-hat over the plateau's: a ratio of estimates that share their replicates."""

from __future__ import annotations

from pathlib import Path

import pytest

from anarchy.estimate.document import RiseTo
from anarchy.estimate.game import cell_game
from anarchy.estimate.ladder import Ladder, estimate_ladder, plateau_cells, summarise
from anarchy.trace.reader import read_trace
from tests.helpers.ladder_samples import GRID, write_ladder


def test_rises_start_on_the_plateau_and_end_at_the_deepest_cell(tmp_path: Path) -> None:
    write_ladder(tmp_path)
    traces = [read_trace(folder.parent) for folder in sorted(tmp_path.rglob("manifest.json"))]
    cells = {trace.manifest.concurrency: [cell_game(trace)] for trace in traces}
    found = estimate_ladder(Ladder(n_workers=2, cells=cells, c_ref=32, replicates=200))
    facts = summarise(found, 32)
    rises = facts["rises"]
    assert [rise["concurrency"] for rise in rises] == [C for C in GRID if plateau_cells(found.rows)[-1] <= C]
    assert facts["rise"] == {key: rises[-1][key] for key in ("value", "lo", "hi")}
    for rise in rises:
        level = facts["plateau"]["poa_hat"]
        cell = next(row for row in found.rows if row["concurrency"] == rise["concurrency"])
        assert rise["value"] == pytest.approx(cell["poa_hat"] / level)
        assert rise["lo"] <= rise["value"] <= rise["hi"]
        assert RiseTo.model_validate(rise)
