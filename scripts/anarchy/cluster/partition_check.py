"""The part of `anarchy doctor --site` that reads sinfo: nodes that can run jobs, what they have, how long."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from anarchy.cluster.asking import ask
from anarchy.config.site import Site
from anarchy.config.site_words import NodeUse, gpus_of, is_unlimited, minutes_of, node_use
from anarchy.ground.findings import Finding

FIELDS = ("%N", "%G", "%l", "%T", "%c", "%m")
"""Name, GRES, time limit, state, CPUs and MB of a node."""
NODES_AWAY = (
    "nodes enough have them but cannot run jobs now: wait for them, or name another partition "
    "(`sinfo -N -o '%N %T %E'` says why)"
)
WRONG_GPUS = (
    "correct gres and gpus_per_node: `sinfo -N -o '%N %G %T'` shows what Slurm calls them and which nodes "
    "run jobs; gres: gpu counts every type"
)
NUMBER = re.compile(r"(\d{1,12})\+?", re.ASCII)


@dataclass(frozen=True)
class NodeRow:
    """What sinfo says of one node; of one in several partitions the shortest time limit."""

    name: str
    gres: str
    limit: str
    state: str
    cpus: int
    memory_mb: int


def partition(site: Site, nodes: int) -> list[Finding]:
    """The partition exists, has nodes enough that run jobs and hold what is asked, and allows the time."""
    rows, unread, wrong = _nodes_of(site.partition, "partition")
    if wrong:
        return [wrong]
    usable = [row for row in rows if _can_run(row.state, site)]
    out = [row for row in rows if not _can_run(row.state, site)]
    return [
        _states(site, rows, out, unread),
        *_hardware(site, rows, usable, nodes),
        _time_limit(site, rows),
    ]


def cpu_partition(site: Site) -> list[Finding]:
    """The partition of deployments on a virtual clock, where one is named, has a node that runs jobs."""
    if not site.cpu_partition:
        return []
    rows, _, wrong = _nodes_of(site.cpu_partition, "cpu_partition")
    if wrong:
        return [wrong]
    usable = sum(_can_run(row.state, site) for row in rows)
    said = f"{site.cpu_partition}: {usable} of {len(rows)} nodes run jobs"
    return [
        Finding(
            "cpu_partition", usable > 0, said, "name one whose nodes are up, or leave cpu_partition empty"
        )
    ]


def _nodes_of(partition: str, key: str) -> tuple[list[NodeRow], list[str], Finding | None]:
    """Nodes of a partition, the lines that tell none, and what is wrong where there is no node."""
    answer = ask("sinfo", "-h", "-N", "-p", partition, "-o", "|".join(FIELDS))
    if answer.error:
        remedy = "see whether Slurm's controller answers: scontrol ping"
        return [], [], Finding(key, False, f"sinfo: {answer.error}", remedy)
    rows, unread = node_rows(answer.output)
    if rows:
        return rows, unread, None
    if unread:
        remedy = f"look at it yourself: sinfo -h -N -p {partition} -o '{'|'.join(FIELDS)}'"
        what = f"sinfo did not print the {len(FIELDS)} fields asked for: {unread[0]!r:.120}"
        return [], unread, Finding(key, False, what, remedy)
    known = ", ".join(sorted(set(ask("sinfo", "-h", "-o", "%R").output.split()))) or "none"
    what = f"there is no {partition!r}, or it has no nodes"
    return [], [], Finding(key, False, what, f"set {key} to one of: {known}")


def node_rows(lines: str) -> tuple[list[NodeRow], list[str]]:
    """Nodes from sinfo's fields, each once however many partitions it is in; and the lines that tell none.

    Fields behind those asked for are left alone.
    """
    rows: dict[str, NodeRow] = {}
    unread = []
    for line in lines.splitlines():
        name, gres, limit, state, cpus, memory, *_ = [*map(str.strip, line.split("|")), *[""] * len(FIELDS)]
        counts = NUMBER.fullmatch(cpus), NUMBER.fullmatch(memory)
        if not (name and state and counts[0] and counts[1]):
            unread.append(line)
            continue
        row = NodeRow(name, gres, limit, state, int(counts[0][1]), int(counts[1][1]))
        known = rows.setdefault(name, row)
        if _minutes(row.limit) < _minutes(known.limit):
            rows[name] = row
    return list(rows.values()), unread


def _can_run(state: str, site: Site) -> bool:
    use = node_use(state)
    named = any(flag.startswith("--reservation=") for flag in site.extra_sbatch)
    return use is NodeUse.RUNS or (use is NodeUse.RESERVED and named)


def _states(site: Site, rows: Sequence[NodeRow], out: Sequence[NodeRow], unread: Sequence[str]) -> Finding:
    counts = [f"{count} {state}" for state, count in Counter(row.state for row in rows).most_common()]
    said = f"{site.partition}: {len(rows)} nodes ({_some(counts)})"
    if out:
        said += f", of which run no jobs: {_some([f'{row.name} ({row.state})' for row in out])}"
    if unheard := sorted({row.state for row in out if node_use(row.state) is NodeUse.UNHEARD}):
        said += f"; not known here, so not counted: {_some(unheard)}"
    if unread:
        said += f"; lines of sinfo that tell no node: {len(unread)}, such as {unread[0]!r:.80}"
    if any(node_use(row.state) is NodeUse.RESERVED for row in out):
        said += "; reserved ones count where extra_sbatch names the reservation (--reservation=NAME)"
    return Finding("partition", True, said)


def _hardware(site: Site, rows: Sequence[NodeRow], usable: Sequence[NodeRow], nodes: int) -> list[Finding]:
    fitting = [row for row in usable if _has_gpus(row, site)]
    memory_mb = site.memory_of_node_mb
    roomy = [row for row in fitting if row.cpus >= site.cpus_per_node and row.memory_mb >= memory_mb]
    kinds = Counter(row.gres for row in usable or rows)
    gpus = Finding(
        "GPUs",
        len(fitting) >= nodes,
        f"{len(fitting)} nodes have {site.gpus_per_node} x {site.gres} and run jobs, {nodes} needed "
        f"(Slurm says {_some([f'{gres} on {count}' for gres, count in kinds.items()])})",
        remedy=NODES_AWAY if sum(_has_gpus(row, site) for row in rows) >= nodes else WRONG_GPUS,
    )
    if not fitting:
        return [gpus]
    key = "memory_mb_per_cpu" if site.memory_mb_per_cpu else "memory_mb_per_node (0 is all of it)"
    rest = Finding(
        "CPUs and memory",
        len(roomy) >= min(nodes, len(fitting)),
        f"{len(roomy)} of those have {site.cpus_per_node} CPUs and "
        f"{f'{memory_mb} MB' if memory_mb else 'all memory'}, {nodes} needed",
        remedy=f"lower cpus_per_node and {key} to what `sinfo -N -o '%N %c %m'` shows",
    )
    return [gpus, rest]


def _time_limit(site: Site, rows: Sequence[NodeRow]) -> Finding:
    shortest = min((row.limit for row in rows), key=_minutes)
    limit = minutes_of(shortest)
    wanted = "unlimited" if site.max_minutes is None else str(site.max_minutes)
    said = f"the partition allows {shortest or 'no time that it tells'}, max_minutes is {wanted}"
    if limit is None and not is_unlimited(shortest):
        remedy = "compare max_minutes with what `sinfo -o '%P %l'` shows"
        return Finding("time limit", False, said, remedy, required=False)
    fits = limit is None or (site.max_minutes is not None and limit >= site.max_minutes)
    return Finding("time limit", fits, said, remedy=f"set max_minutes to {limit}")


def _has_gpus(row: NodeRow, site: Site) -> bool:
    return gpus_of(row.gres, site.gres) >= site.gpus_per_node


def _minutes(limit: str) -> float:
    """Minutes for comparison; no limit, and what is no time, are the longest."""
    found = minutes_of(limit)
    return float("inf") if found is None else found


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"{name:.80}" for name in names[:most]) + more
