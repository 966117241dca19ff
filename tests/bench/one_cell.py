"""One cell of the load client as a process of its own, importing nothing but the client."""

from __future__ import annotations

import json
import sys

from anarchy.load.cell import ClientConfig
from anarchy.load.client import run_client
from anarchy.load.payload import Endpoint
from anarchy.load.phases import PhasePlan
from anarchy.load.router import FixedRouter, Labels, Route
from anarchy.load.workload import Workload, WorkloadSpec


def main() -> None:
    """Make the load that the first argument describes as JSON, and print the client's report as JSON."""
    load = json.loads(sys.argv[1])
    config = ClientConfig(
        (Endpoint(load["host"], load["port"], load["model"]),),
        load["concurrency"],
        # The users' last requests come on top; the report's count has them.
        PhasePlan(0.0, 0.01, 600.0, min_requests=max(1, load["requests"] - 2 * load["concurrency"])),
        dilation=load["dilation"],
    )
    router = FixedRouter(Route(Labels("static", 0.0, 1.0)))
    spec = WorkloadSpec(output_tokens=64, output_jitter=0.0, templates=load["prompts"])
    report = run_client(config, Workload(spec, load["seed"]), lambda record: None, router=router)
    print(json.dumps(report.to_dict()))


if __name__ == "__main__":
    main()
