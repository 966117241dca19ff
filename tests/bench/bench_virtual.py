"""What virtual time costs: E1 and E4 with 20 launches, and whose time it is.

Usage: python -m tests.bench.bench_virtual [RESULTS]. Everything is measured anew into RESULTS, by default a
folder of its own. Wall times are of this machine as it is now; the shares say more: of the library, of this
project's code around it, and of the estimator.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers.places import PROJECT

TIER = "bench"
SYSTEMS = 3
LAUNCHES = 20


def run(results: Path, experiment: str, *targets: str) -> float:
    """Wall seconds of one call of Snakemake for an experiment."""
    began = time.monotonic()
    subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", *targets, "--quiet", "all", "--config"),
            *(f"tier={TIER}", f"experiments={experiment}", f"results={results}", "topologies=1p2d,1p5d"),
        ],
        cwd=PROJECT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.monotonic() - began


def cells(results: Path, experiment: str) -> Iterator[dict[str, Any]]:
    """What the manifests of all cells of an experiment say of their replay."""
    for index in (results / TIER / "raw" / experiment).rglob("cells.json"):
        for manifest in json.loads(index.read_text())["cells"]:
            yield {
                **manifest["client"],
                "rows": manifest["seal"]["rows"],
                "valid": manifest["gates"]["valid"],
            }


def estimating_s(results: Path, experiment: str) -> float:
    """Wall seconds of the estimates of an experiment, one after the other, as Snakemake timed them."""
    seconds = 0.0
    for path in (results / TIER / "benchmarks").glob(f"estimate_{experiment}_*.tsv"):
        header, row = path.read_text().splitlines()[:2]
        seconds += float(row.split("\t")[header.split("\t").index("s")])
    return seconds


def peak_mib(results: Path, experiment: str) -> float:
    """Largest resident memory of a sweep and its processes together, MiB, as Snakemake saw it."""
    peaks = []
    for path in (results / TIER / "benchmarks").glob(f"sweep_{experiment}_*.tsv"):
        header, row = path.read_text().splitlines()[:2]
        value = row.split("\t")[header.split("\t").index("max_rss")]
        peaks.append(float(value) if value not in ("-", "NA") else 0.0)
    return max(peaks, default=0.0)


def estimates(results: Path, experiment: str) -> list[str]:
    """The estimates of an experiment as targets."""
    systems = (("nemotron-4-340b", "1p2d"), ("llama-3.1-70b", "1p2d"), ("llama-3.1-70b", "1p5d"))
    folder = results / TIER / "estimates" / experiment
    return [str(folder / f"{model}_{topology}" / "system.json") for model, topology in systems]


def main(results: Path) -> None:
    """Run both, and print a table."""
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start\n")
    print("| | cells | requests kept | wall | library | around it | estimator | memory of a sweep |")
    print("|---|---|---|---|---|---|---|---|")
    for experiment, title in (("equilibrium", "E1"), ("pareto", "E4")):
        wall = run(results, experiment, *estimates(results, experiment))
        found = list(cells(results, experiment))
        library = sum(cell["replay_s"] for cell in found)
        around = sum(cell["took_s"] for cell in found) - library
        estimator = estimating_s(results, experiment)
        whole = library + around + estimator
        print(
            f"| {title}, {SYSTEMS} systems x {LAUNCHES} launches | {len(found):,} "
            f"({sum(cell['valid'] for cell in found):,} valid) | {sum(cell['rows'] for cell in found):,} | "
            f"{wall / 60:.1f} min | "
            + " | ".join(f"{part:.0f} s, {part / whole:.0%}" for part in (library, around, estimator))
            + f" | {peak_mib(results, experiment):.0f} MiB |"
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        scratch = Path(tempfile.mkdtemp(prefix="anarchy-bench-"))
        try:
            main(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
