"""What the kernel tells of a node: CPU, NUMA, memory, network; no address of any kind."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from anarchy.telemetry.probes import ProbeError, read_number, read_or_none, read_text

SYS = Path("/sys")
PROC = Path("/proc")
LINK_TYPES = {1: "ethernet", 32: "infiniband"}
"""ARPHRD numbers of the kernel's if_arp.h that a compute node has."""
_MAC_IN_NAME = re.compile(r"^(enx|wlx)[0-9a-f]{12}$")


def cpu() -> dict[str, Any]:
    """Model, sockets, cores and threads that are online."""
    topology = SYS / "devices/system/cpu"
    places = {
        (read_or_none(cpu_dir / "physical_package_id"), read_or_none(cpu_dir / "core_id"))
        for cpu_dir in topology.glob("cpu[0-9]*/topology")
    }
    return {
        "model": _cpu_model(),
        "architecture": platform.machine(),
        "sockets": len({package for package, _ in places}) or None,
        "cores": len(places) or None,
        "threads": os.cpu_count(),
    }


def _cpu_model() -> str | None:
    """Model name; on Arm, which has none, implementer and part."""
    fields: dict[str, str] = {}
    for line in read_text(PROC / "cpuinfo").splitlines():
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.strip(), value.strip())
    if "model name" in fields:
        return fields["model name"]
    if "CPU part" in fields:
        return f"implementer {fields.get('CPU implementer')}, part {fields['CPU part']}"
    return None


def cpu_governor() -> list[str]:
    """Frequency governors in use."""
    files = sorted((SYS / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
    if not files:
        raise ProbeError("no cpufreq in /sys (usual in a virtual machine)")
    return sorted({read_text(file) for file in files})


def numa() -> list[dict[str, Any]]:
    """CPUs and memory (bytes) of every NUMA node."""
    nodes = sorted((SYS / "devices/system/node").glob("node[0-9]*"), key=lambda path: int(path.name[4:]))
    if not nodes:
        raise ProbeError("no NUMA nodes in /sys/devices/system/node")
    return [
        {"cpus": read_or_none(node / "cpulist"), "memory_bytes": _memory_of(node / "meminfo")}
        for node in nodes
    ]


def memory() -> dict[str, int | None]:
    """Memory of the whole node, and what the cgroup of this process may take of it, bytes."""
    limit = read_number(SYS / "fs/cgroup/memory.max")
    return {"total_bytes": _memory_of(PROC / "meminfo"), "cgroup_bytes": limit}


def _memory_of(meminfo: Path) -> int | None:
    found = re.search(r"MemTotal:\s+(\d+) kB", read_text(meminfo))
    return int(found[1]) * 1024 if found else None


def kernel() -> dict[str, str]:
    """Release and boot options that move latencies; the whole command line may name hosts."""
    words = (read_or_none(PROC / "cmdline") or "").split()
    prefixes = ("isolcpus", "nohz", "mitigations", "intel_idle", "iommu", "amd_iommu", "intel_iommu", "pci=")
    told = [word for word in words if word.startswith((*prefixes, "processor.", "transparent_hugepage"))]
    return {"release": platform.release(), "boot_options": " ".join(told)}


def operating_system() -> str | None:
    """Name and version of the distribution."""
    for line in read_text(Path("/etc/os-release")).splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return None


def network() -> list[dict[str, Any]]:
    """Network interfaces with hardware behind them: name, driver, link type, speed (Mbit/s), MTU (bytes)."""
    folder = SYS / "class/net"
    if not folder.is_dir():
        raise ProbeError("no /sys/class/net")
    return [_interface(path) for path in sorted(folder.iterdir()) if (path / "device").exists()]


def _interface(path: Path) -> dict[str, Any]:
    kind = read_number(path / "type")
    return {
        "name": _MAC_IN_NAME.sub(r"\1<address>", path.name),
        "driver": _link_name(path / "device/driver"),
        "link": LINK_TYPES.get(kind, f"type {kind}") if kind is not None else None,
        "speed_mbit_s": read_number(path / "speed"),
        "mtu": read_number(path / "mtu"),
        "state": read_or_none(path / "operstate"),
        "numa_node": read_number(path / "device/numa_node"),
    }


def _link_name(link: Path) -> str | None:
    return link.resolve().name if link.exists() else None


def infiniband() -> list[dict[str, Any]]:
    """Ports of every RDMA device: rate, state, link layer, firmware; GUIDs and descriptions name a host."""
    folder = SYS / "class/infiniband"
    if not folder.is_dir():
        raise ProbeError("no /sys/class/infiniband: no RDMA device, or its driver is not loaded")
    return [port for device in sorted(folder.iterdir()) for port in _ports(device)]


def _ports(device: Path) -> Iterator[dict[str, Any]]:
    for port in sorted((device / "ports").iterdir()):
        yield {
            "device": device.name,
            "port": port.name,
            "rate": read_or_none(port / "rate"),
            "state": read_or_none(port / "state"),
            "link_layer": read_or_none(port / "link_layer"),
            "firmware": read_or_none(device / "fw_ver"),
            "type": read_or_none(device / "hca_type"),
            "numa_node": read_number(device / "device/numa_node"),
        }
