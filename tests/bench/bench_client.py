"""CPU that a request costs the load client, beside aiperf on the same deployment and the same load.

Both stream completions of 128 prompt and 64 output tokens in a closed loop from the real serving stack with
mock engines. They take turns. CPU is user + system of the whole process tree, from rusage:

- `whole run`: everything from the start of the process to its end, over the requests it made;
- `a further request`: what the run costs above one of few requests, so that start-up cancels.

How late this project's client sends, as it tells of itself, stands below the table.

`make bench` builds aiperf's environment (.envs/bench, 1.2 GB) and runs it. Exits with 1 when a target is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from anarchy.engines.mocker import MockerSettings
from anarchy.engines.profiles import load_profile, write_npz
from anarchy.engines.spec import DeploymentSpec, RoutingPolicy
from anarchy.ground.locks import check_environment
from anarchy.serving.model_folder import write_model_folder
from anarchy.serving.stack import Deployment
from tests.helpers.places import PROFILE, PROJECT

HERE = PROJECT / "tests" / "bench"
BENCH_ENV = PROJECT / ".envs" / "bench"
LOCK = PROJECT / "envs" / "bench.lock"
MODEL = "llama-3.1-70b"
TARGET_CPU_MS = 2.0
TARGET_RATIO = 10.0
TARGET_LATE_MS = 5.0
PROMPTS = 100
"""Distinct prompts; aiperf's default."""


@dataclass(frozen=True)
class Cost:
    """What one run took: CPU seconds of its process tree, wall seconds, requests that ended well."""

    cpu_s: float
    wall_s: float
    requests: int
    late_ms: float = 0.0
    """Median wall time by which this project's client sent a request late."""

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds a request."""
        return 1000 * self.cpu_s / self.requests


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=448, help="requests of a long run (default 448)")
    parser.add_argument("--few", type=int, default=128, help="requests of a short run (default 128)")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--dilation", type=float, default=4.0)
    parser.add_argument("--without-aiperf", action="store_true", help="measure this project's client alone")
    return bench(parser.parse_args(arguments))


def bench(options: argparse.Namespace) -> int:
    """Bring a deployment up, let the two tools take turns, and judge."""
    console = Console()
    if not options.without_aiperf:
        check_environment(BENCH_ENV, LOCK)
    costs: dict[tuple[str, int], list[Cost]] = {}
    with tempfile.TemporaryDirectory(prefix="anarchy-bench-") as name:
        scratch = Path(name)
        with Deployment(deployment_spec(scratch, options.dilation)) as deployment:
            host, port = deployment.endpoints["static"]
            for repeat in range(options.repeats):
                for requests in (options.few, options.requests):
                    load = Load(host, port, options.concurrency, requests, options.dilation, repeat)
                    costs.setdefault(("client", requests), []).append(run_ours(load))
                    if not options.without_aiperf:
                        costs.setdefault(("aiperf", requests), []).append(run_aiperf(load, scratch))
                deployment.raise_if_faulty()
                console.print(f"repeat {repeat + 1} of {options.repeats} done", highlight=False)
    return report(console, costs, options)


@dataclass(frozen=True)
class Load:
    """One run's load."""

    host: str
    port: int
    concurrency: int
    requests: int
    dilation: float
    seed: int


def deployment_spec(scratch: Path, dilation: float) -> DeploymentSpec:
    """Return one prefill and two decode workers, slowed so that neither tool is short of CPU."""
    write_npz(load_profile(PROFILE), scratch / "profile.npz")
    return DeploymentSpec(
        model=MODEL,
        prefill=1,
        decode=2,
        settings=MockerSettings(scratch / "profile.npz", dilation=dilation),
        policies=(RoutingPolicy("static", 0.0, 1.0),),
        log_dir=scratch / "logs",
    )


def run_ours(load: Load) -> Cost:
    """Run this project's client as a process of its own."""
    described = json.dumps({**vars(load), "model": MODEL, "prompts": PROMPTS})
    command = [sys.executable, str(HERE / "one_cell.py"), described]
    cost, output = run_tree(command, env=dict(os.environ))
    made = json.loads(output.splitlines()[-1])
    if set(made["status_counts"]) != {"ok"}:
        raise RuntimeError(f"the client saw errors: {made['error_samples']}")
    late_ms = 1000 * made["schedule_delay"]["p50"] * load.dilation
    return Cost(cost["cpu_s"], cost["wall_s"], made["sent"], late_ms)


def run_aiperf(load: Load, scratch: Path) -> Cost:
    """Run aiperf with the same load, offline."""
    home = hugging_face_home(scratch)
    out = scratch / f"aiperf-{load.requests}-{load.seed}"
    command = [
        *(str(BENCH_ENV / "bin" / "aiperf"), "profile", "--model", MODEL),
        *("--url", f"http://{load.host}:{load.port}", "--endpoint-type", "completions", "--streaming"),
        *("--concurrency", str(load.concurrency), "--request-count", str(load.requests)),
        *("--synthetic-input-tokens-mean", "128", "--synthetic-input-tokens-stddev", "0"),
        *("--output-tokens-mean", "64", "--output-tokens-stddev", "0"),
        *("--extra-inputs", "ignore_eos:true", "--extra-inputs", "min_tokens:64"),
        *("--tokenizer", "local/words", "--random-seed", str(load.seed)),
        *("--no-gpu-telemetry", "--no-server-metrics", "--ui", "none", "--output-artifact-dir", str(out)),
    ]
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    cost, _ = run_tree(command, env=env)
    made = json.loads((out / "profile_export_aiperf.json").read_text())
    if made["error_summary"] or made["total_output_tokens"]["avg"] != 64 * load.requests:
        raise RuntimeError(
            f"aiperf made another load: {made['error_summary']}, {made['total_output_tokens']}"
        )
    return Cost(cost["cpu_s"], cost["wall_s"], int(made["request_count"]["avg"]))


def hugging_face_home(scratch: Path) -> Path:
    """Lay the tokenizer out as a downloaded one: offline, aiperf takes no path, only what is in the cache."""
    repository = scratch / "hf" / "hub" / "models--local--words"
    if not repository.exists():
        write_model_folder(repository / "snapshots" / "0")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("0")
    return scratch / "hf"


def run_tree(command: Sequence[str], env: dict[str, str]) -> tuple[dict[str, float], str]:
    """Run a command below a process that adds up its tree, and return the cost and the output."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as cost:
        done = subprocess.run(
            [sys.executable, str(HERE / "process_tree.py"), cost.name, *command],
            env=env,
            capture_output=True,
            text=True,
            timeout=600,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return json.load(cost), done.stdout


def report(console: Console, costs: dict[tuple[str, int], list[Cost]], options: argparse.Namespace) -> int:
    """Print the table and say whether the targets are met."""
    table = Table(
        title=f"CPU ms a request, medians of {options.repeats}: 128 + 64 tokens, C = {options.concurrency}"
    )
    for column in ("tool", "whole run", "min-max", "a further one", "min-max", "wall s"):
        table.add_column(column, justify="left" if column == "tool" else "right")
    medians = {}
    for tool in dict.fromkeys(tool for tool, _ in costs):
        long, short = costs[tool, options.requests], costs[tool, options.few]
        whole = [cost.cpu_ms for cost in long]
        further = [
            1000 * (b.cpu_s - a.cpu_s) / (b.requests - a.requests) for a, b in zip(short, long, strict=True)
        ]
        medians[tool] = (statistics.median(whole), statistics.median(further))
        wall = statistics.median(cost.wall_s for cost in long)
        table.add_row(
            tool,
            *(f"{medians[tool][0]:.2f}", f"{min(whole):.2f}-{max(whole):.2f}"),
            *(f"{medians[tool][1]:.2f}", f"{min(further):.2f}-{max(further):.2f}"),
            f"{wall:.1f}",
        )
    console.print(table)
    late = statistics.median(cost.late_ms for cost in costs["client", options.requests])
    verdicts = [
        (f"client at most {TARGET_CPU_MS:g} ms a further request", medians["client"][1] <= TARGET_CPU_MS),
        (f"client sends {late:.2f} ms late (target {TARGET_LATE_MS:g} ms), medians", late <= TARGET_LATE_MS),
    ]
    if "aiperf" in medians:
        ratios = [a / b for a, b in zip(medians["aiperf"], medians["client"], strict=True)]
        for ratio, of in zip(ratios, ("over a whole run", "for a further request"), strict=True):
            verdicts.append(
                (
                    f"aiperf takes {ratio:.1f} (target {TARGET_RATIO:g}) times as much {of}",
                    ratio >= TARGET_RATIO,
                )
            )
    for text, met in verdicts:
        console.print(f"{'met' if met else 'MISSED'}: {text}", highlight=False)
    return 0 if all(met for _, met in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
