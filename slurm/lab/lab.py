"""A real Slurm cluster of three nodes on this one machine: `lab.py up`, `lab.py status`, `lab.py down`.

One munged, one slurmctld and three slurmd, each slurmd in UTS, PID and mount namespaces of its own, so that a
node has a name, an address (127.0.0.11 and on) and processes that a power cut ends with it. The GPUs are only
names.

Everything lies in one folder, which `down` removes. Outside of it there is one symbolic link,
/etc/slurm/slurm.conf: Snakemake's Slurm plugin drops SLURM_CONF, so its job steps look there. Root is needed:
for that link, for namespaces, and because slurmd runs jobs.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from string import Template

import lab_processes as processes
from anarchy.ground.errors import EXIT_USER_ERROR, UserError
from lab_processes import Process

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
DEFAULT_FOLDER = PROJECT / ".slurm-lab"
SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
NODES = ("node01", "node02", "node03")
CPUS, MEMORY_MB, GPUS = 32, 500_000, 8
CONTROLLER_PORT = 26817
"""Below the ports that Linux gives out by itself; the nodes take the ones that follow."""
PROGRAMS = ("munged", "mungekey", "slurmctld", "slurmd", "srun", "sbatch", "scontrol", "unshare", "setsid")
SERVING = frozenset({"idle", "mixed", "allocated", "completing"})
"""Slurm's words for a node that can be used. `idle*`, `down`, ... are none."""
DAEMONS = frozenset({"slurmctld", "slurmd", "slurmdbd"})
UP_TIMEOUT_S = 60.0
QUERY_TIMEOUT_S = 15.0
CANCEL_TIMEOUT_S = 15.0
LONGEST_FOLDER = 60
"""A socket's path may have 107 characters, and slurmstepd makes them in spool/NODE/."""
LOG_TAIL_LINES = 12
NODE_SCRIPT = 'hostname "$1" && mount --bind "$2" /etc/hosts && exec slurmd -D -N "$1" -f "$3"'


@dataclass(frozen=True)
class Status:
    """What the lab looks like: pids of the daemons that run, Slurm's word on each node, number of jobs."""

    folder: Path
    pids: dict[str, int]
    nodes: dict[str, str]
    jobs: int | None

    @property
    def whole(self) -> bool:
        """Whether every daemon runs and every node can be used."""
        return (
            len(self.pids) == 2 + len(NODES)
            and [*self.nodes] == [*NODES]
            and {*self.nodes.values()} <= SERVING
        )

    def __str__(self) -> str:
        if not self.pids:
            return f"the lab is not up ({self.folder})"
        lines = [f"the lab is {'up' if self.whole else 'NOT whole'} ({self.folder})"]
        for name in ("munged", "slurmctld", *NODES):
            process = f"pid {self.pids[name]}" if name in self.pids else "no process"
            lines.append(f"  {name:<10} {process:<12} {self.nodes.get(name, '')}".rstrip())
        lines.append(f"  jobs pending or running: {'unknown' if self.jobs is None else self.jobs}")
        return "\n".join(lines)


class Lab:
    """The lab whose state lies in `folder`; any number of these objects may speak of the same lab."""

    def __init__(self, folder: Path = DEFAULT_FOLDER) -> None:
        self.folder = folder.resolve()
        self.conf = self.folder / "etc" / "slurm.conf"

    def start(self) -> str:
        """Bring up the lab, or what is missing of it, until its nodes serve; says what was done."""
        check_machine()
        with _alone():
            self._check_folder()
            if self._ready.is_file() and self._booted_now:
                missing = self._start_missing()
                self.wait_nodes()
                return f"started again: {', '.join(missing)}" if missing else "the lab is already up"
            self._sweep()  # of a start that was killed, or from before a reboot
            if dead := _dead_lab():
                dead._sweep()  # nobody took it down: a test run that was killed, a machine that was cut off
            self._check_free()
            try:
                self._build()
                self._start_missing()
                self.wait_nodes()
            except BaseException:
                self._sweep()
                raise
            self._ready.touch()
            return "the lab is up"

    def stop(self) -> str:
        """Cancel the jobs, end every daemon, remove the folder and the link; says what was done."""
        check_root()
        with _alone():
            self._check_folder()
            if not self.folder.exists() and not processes.marked(self.folder) and not self._link_is_ours:
                return "the lab is not up"
            self._cancel_jobs()
            self._sweep()
            return "the lab is down and its folder removed; the Debian packages stay"

    def status(self) -> Status:
        """What runs, and what Slurm says of it; asks Slurm only when its controller runs."""
        alive = {
            name: process.pid for name in ("munged", "slurmctld", *NODES) if (process := self._alive(name))
        }
        if "slurmctld" not in alive:
            return Status(self.folder, alive, {}, None)
        try:
            jobs = self.query("squeue", "-h").splitlines()
            return Status(self.folder, alive, self.node_states(), len(jobs))
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return Status(self.folder, alive, {}, None)

    def kill_node(self, name: str) -> None:
        """Cut a node's power: slurmd and everything it ran is gone at once, nobody is told."""
        unshare = self._alive(name)
        if unshare is None:
            raise ValueError(f"{name} does not run")
        init = processes.children(unshare)
        unshare.kill(signal.SIGKILL)
        processes.end([unshare, *init], signal.SIGKILL)

    def restore_node(self, name: str, *, wait: bool = True) -> None:
        """Give a node its power again and, unless told not to, wait until it serves."""
        self._start_node(name)
        if wait:
            self.wait_nodes([name])

    def stop_controller(self, *, number: signal.Signals = signal.SIGTERM) -> None:
        """End slurmctld; nodes and running jobs stay.

        By SIGKILL it loses the changes of its last seconds: a job started in them is cancelled when it comes
        back, and its node drained.
        """
        processes.end([process for process in [self._alive("slurmctld")] if process], number)

    def start_controller(self, *, wait: bool = True) -> None:
        """Start slurmctld with the state it left and, unless told not to, wait until it answers."""
        self._start("slurmctld", ["slurmctld", "-D", "-f", str(self.conf)])
        if wait:
            self._wait("slurmctld does not answer", ["slurmctld"], self._controller_answers)

    def wait_nodes(self, names: Sequence[str] = NODES) -> None:
        """Wait until these nodes take jobs: slurmd listens, and the controller believes it."""

        def serving() -> bool:
            states = self.node_states() if self._controller_answers() else {}
            self._resume({name: states[name] for name in names if name in states})
            # Last, because slurmd logs each such connection as an error.
            return all(states.get(name) in SERVING for name in names) and all(map(_listens, names))

        self._wait("nodes do not serve", ["munged", "slurmctld", *names], serving)

    def env(self) -> dict[str, str]:
        """Environment for Slurm's commands: this process's, with SLURM_CONF and nothing of another job."""
        foreign = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SINFO_", "SALLOC_", "SCANCEL_")
        ours = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        return {**ours, "SLURM_CONF": str(self.conf)}

    def query(self, *argv: str, timeout_s: float = QUERY_TIMEOUT_S) -> str:
        """Standard output of one of Slurm's commands; raises `CalledProcessError` when it fails."""
        done = subprocess.run(
            argv,
            env=self.env(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=True,
        )
        return done.stdout.strip()

    def node_states(self) -> dict[str, str]:
        """Slurm's word on each node; `idle*` for one that does not answer."""
        lines = self.query("sinfo", "-h", "-N", "-p", "b200", "-o", "%N %T").splitlines()
        return dict(sorted(line.split() for line in lines))

    def job_state(self, job: str) -> str:
        """State of a job, ended ones of the last 5 minutes included."""
        return self.query("squeue", "-h", "-t", "all", "-j", job, "-o", "%T")

    @property
    def _ready(self) -> Path:
        return self.folder / "ready"

    @property
    def _marker(self) -> Path:
        """Written first and removed last: says that this folder is a lab's, and of which boot."""
        return self.folder / "boot_id"

    @property
    def _booted_now(self) -> bool:
        return self._marker.is_file() and self._marker.read_text() == _boot_id()

    @property
    def _link_is_ours(self) -> bool:
        return SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink() == self.conf

    def _alive(self, name: str) -> Process | None:
        """Process of a daemon, if it runs; records from before a reboot say nothing."""
        process = processes.read_record(self.folder / "pids" / name) if self._booted_now else None
        return process if process and process.alive else None

    def _check_folder(self) -> None:
        if len(str(self.folder)) > LONGEST_FOLDER:
            raise UserError(
                f"path of more than {LONGEST_FOLDER} characters, too long for Slurm's sockets",
                where=self.folder,
                remedy="keep the lab in a shorter one: --folder /tmp/slurm-lab",
            )
        if self.folder.exists() and any(self.folder.iterdir()) and not self._marker.is_file():
            raise UserError(
                "not a folder of the lab, and not empty",
                where=self.folder,
                remedy="name another one: --folder",
            )

    def _check_free(self) -> None:
        """Refuse to start beside somebody else's Slurm, or where our ports are taken."""
        if SYSTEM_CONF.exists() or SYSTEM_CONF.is_symlink():
            raise _foreign_conf()
        if foreign := processes.named(DAEMONS):
            raise UserError(
                f"Slurm runs here already: pids {', '.join(str(process.pid) for process in foreign)}",
                where=socket.gethostname(),
                remedy="end it first if it is yours to end; the lab does not touch what it did not start",
            )
        for port in range(CONTROLLER_PORT, CONTROLLER_PORT + 1 + len(NODES)):
            _check_port(port)

    def _build(self) -> None:
        """Make the folder with configuration, key and devices, and the link to the configuration."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._marker.write_text(_boot_id())
        for name in (
            "etc",
            "run",
            "state",
            "spool",
            "logs",
            "pids",
            "dev",
            *(f"spool/{node}" for node in NODES),
        ):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        subprocess.run(["mungekey", "--create", f"--keyfile={self._key}"], check=True, capture_output=True)
        for gpu in range(GPUS):
            (self.folder / "dev" / f"nvidia{gpu}").symlink_to("/dev/null")
        self._render()
        SYSTEM_CONF.symlink_to(self.conf)

    @property
    def _key(self) -> Path:
        return self.folder / "etc" / "munge.key"

    def _render(self) -> None:
        nodes = [
            f"NodeName={name} NodeHostname=localhost NodeAddr={address(name)} Port={_node_port(name)} "
            f"Sockets=2 CoresPerSocket={CPUS // 2} ThreadsPerCore=1 RealMemory={MEMORY_MB} "
            f"Gres=gpu:b200:{GPUS}"
            for name in NODES
        ]
        values = {
            "folder": str(self.folder),
            "host": socket.gethostname().partition(".")[0],
            "controller_port": str(CONTROLLER_PORT),
            "nodes": "\n".join(nodes),
        }
        for template in HERE.glob("*.template"):
            rendered = Template(template.read_text(encoding="utf-8")).substitute(values)
            (self.folder / "etc" / template.stem).write_text(rendered, encoding="utf-8")
        hosts = [f"{address(name)} {name}" for name in NODES]
        known = Path("/etc/hosts").read_text(encoding="utf-8")
        (self.folder / "etc" / "hosts").write_text("\n".join([known.rstrip(), *hosts, ""]), encoding="utf-8")

    def _start_missing(self) -> list[str]:
        """Start every daemon that does not run and return their names."""
        missing = [name for name in ("munged", "slurmctld", *NODES) if not self._alive(name)]
        if "munged" in missing:
            self._start_munged()
        if "slurmctld" in missing:
            self.start_controller(wait=False)
        for name in NODES:
            if name in missing:
                self._start_node(name)
        return missing

    def _start_munged(self) -> None:
        run = self.folder / "run"
        # --force: a folder above ours that others may write is a warning, not an error; the key guards a toy.
        self._start(
            "munged",
            [
                *(
                    "munged",
                    "--foreground",
                    "--force",
                    f"--key-file={self._key}",
                    f"--socket={run}/munge.socket",
                ),
                *(f"--pid-file={run}/munged.pid", f"--log-file={self.folder}/logs/munged.log"),
                *(f"--seed-file={run}/munge.seed", "--num-threads=2"),
            ],
        )
        self._wait("munged has no socket", ["munged"], (run / "munge.socket").exists)

    def _start_node(self, name: str) -> None:
        hosts, conf = str(self.folder / "etc" / "hosts"), str(self.conf)
        namespaces = ("--uts", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child")
        self._start(name, ["unshare", *namespaces, "sh", "-c", NODE_SCRIPT, "sh", name, hosts, conf])

    def _start(self, name: str, argv: list[str]) -> None:
        if self._alive(name):
            raise ValueError(f"{name} runs already")
        environment = {**self.env(), processes.MARK: str(self.folder)}
        processes.start(self.folder / "pids" / name, argv, log=self._log(name), env=environment)

    def _log(self, name: str) -> Path:
        """A daemon's standard error; the .log file beside it has the same, and its children's words."""
        return self.folder / "logs" / f"{name}.stderr"

    def _controller_answers(self) -> bool:
        done = subprocess.run(
            ["scontrol", "ping"], env=self.env(), capture_output=True, text=True, check=False
        )
        return " is UP" in done.stdout

    def _resume(self, states: Mapping[str, str]) -> None:
        """Give nodes back that Slurm has drained (it does after a controller's crash), as an admin would."""
        for name, state in states.items():
            if state.startswith("drain"):
                self.query("scontrol", "update", f"NodeName={name}", "State=RESUME")

    def _wait(self, what: str, names: list[str], condition: Callable[[], bool]) -> None:
        """Wait until the condition holds; a daemon that ends meanwhile is the error."""
        deadline = time.monotonic() + UP_TIMEOUT_S
        while not condition():
            dead = next((name for name in names if not self._alive(name)), None)
            if dead or time.monotonic() > deadline:
                raise self._failure(f"{dead} ended" if dead else f"{what} after {UP_TIMEOUT_S:.0f} s", dead)
            time.sleep(0.1)

    def _failure(self, what: str, daemon: str | None) -> UserError:
        tails = [
            f"{name}:\n{_tail(self._log(name))}" for name in ([daemon] if daemon else ["slurmctld", *NODES])
        ]
        return UserError(
            "the lab did not come up: " + "\n".join([what, *tails]),
            where=self.folder,
            remedy="read the daemons' last words above; `make lab-down` removes what is left",
        )

    def _cancel_jobs(self) -> None:
        """Let jobs end as they would by scancel; what does not end in time ends with its node."""
        if not self._alive("slurmctld"):
            return
        try:
            jobs = self.query("squeue", "-h", "-o", "%A").split()
            if jobs:
                self.query("scancel", *jobs)
            deadline = time.monotonic() + CANCEL_TIMEOUT_S
            while self.query("squeue", "-h") and time.monotonic() < deadline:
                time.sleep(0.2)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return  # a controller that does not answer

    def _sweep(self) -> None:
        """End what this lab started and remove what it made, in whatever state it is."""
        for name in NODES:
            if self._alive(name):
                self.kill_node(name)
        for name in ("slurmctld", "munged"):
            processes.end([process for process in [self._alive(name)] if process], signal.SIGTERM)
        while lost := processes.marked(self.folder):
            processes.end(lost, signal.SIGKILL)
        if self._link_is_ours:
            SYSTEM_CONF.unlink()
        if self._marker.is_file():
            for entry in self.folder.iterdir():
                if entry != self._marker:  # last, so that a sweep that is killed can be repeated
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            shutil.rmtree(self.folder)


def running_lab() -> Lab | None:
    """The lab that is up on this machine, wherever its folder is; there can be one."""
    if not SYSTEM_CONF.is_symlink():
        return None
    lab = Lab(SYSTEM_CONF.readlink().parents[1])
    return lab if lab.status().pids else None


def address(name: str) -> str:
    """Loopback address of a node: 127.0.0.11 for node01."""
    return f"127.0.0.{11 + NODES.index(name)}"


def check_machine() -> None:
    """Raise `UserError` unless this is a machine where the lab can run."""
    check_root()
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing and not list(Path("/usr/lib").glob("*/slurm-wlm/select_cons_tres.so")):
        missing = ["Slurm's plugin select/cons_tres"]
    if missing:
        raise UserError(
            f"{', '.join(missing)} not found",
            remedy="`make lab-up` installs what is missing, or as root: slurm/lab/install-packages",
        )


def check_root() -> None:
    """Raise `UserError` unless this process is root's."""
    if os.geteuid() != 0:
        raise UserError(
            "the lab needs root (namespaces, slurmd, and the link /etc/slurm/slurm.conf)",
            remedy="run this as root, in a container or a virtual machine if you have no other",
        )


def _node_port(name: str) -> int:
    return CONTROLLER_PORT + 1 + NODES.index(name)


def _listens(name: str) -> bool:
    try:
        socket.create_connection((address(name), _node_port(name)), timeout=1.0).close()
    except OSError:
        return False
    return True


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _dead_lab() -> Lab | None:
    """The lab that the system's slurm.conf links to, where nothing of it runs; its folder may be gone too."""
    if not SYSTEM_CONF.is_symlink() or SYSTEM_CONF.readlink().parts[-2:] != ("etc", "slurm.conf"):
        return None
    lab = Lab(SYSTEM_CONF.readlink().parents[1])
    made = lab._marker.is_file() or not lab.folder.exists()
    return lab if made and not lab.status().pids and not processes.marked(lab.folder) else None


def _foreign_conf() -> UserError:
    folder = SYSTEM_CONF.readlink().parents[1] if SYSTEM_CONF.is_symlink() else None
    if folder and (folder / "boot_id").is_file():
        return UserError(
            f"another lab has its folder in {folder}",
            where=SYSTEM_CONF,
            remedy=f"use it, or take it down: {sys.executable} {HERE / 'lab.py'} down --folder {folder}",
        )
    return UserError(
        "a Slurm configuration that the lab did not make",
        where=SYSTEM_CONF,
        remedy="use a machine that is not part of a cluster; move the file away if it is a leftover",
    )


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"port {port} is taken ({error.strerror})",
                where=socket.gethostname(),
                remedy=f"end what listens there: ss -ltnp 'sport = :{port}'",
            ) from None


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the machine's one lock, on the folder of the one link: two labs cannot start or stop at once."""
    if not SYSTEM_CONF.parent.is_dir():  # the packages are gone; nothing of them can run
        yield
        return
    descriptor = os.open(SYSTEM_CONF.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UserError(
            "another lab command is at work", where=SYSTEM_CONF.parent, remedy="wait until it has ended"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def _tail(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return "\n".join(f"  {line[:300]}" for line in lines[-LOG_TAIL_LINES:])


def _usage(lab: Lab) -> str:
    return (
        f"  try it:      srun -N3 hostname\n"
        f"  partitions:  b200 (default), short (at most 2 minutes), cpus; "
        f"{len(NODES)} nodes with {CPUS} CPUs and {GPUS} GPUs each, all in name only\n"
        f"  logs:        {lab.folder}/logs\n"
        f"  power cut:   kill -9 the pid of a node (make lab-status); make lab-up brings it back\n"
        f"  take down:   make lab-down"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command line; exit status 2: the user can mend it, 1 (of status): the lab is not whole."""
    parser = argparse.ArgumentParser(
        prog="lab.py", description="A real three-node Slurm cluster on this machine."
    )
    parser.add_argument("do", choices=("up", "down", "status"))
    parser.add_argument(
        "--folder", type=Path, default=DEFAULT_FOLDER, help="where everything lies (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    lab = Lab(options.folder)
    try:
        match options.do:
            case "up":
                print(lab.start(), f"({lab.folder})\n{_usage(lab)}")
            case "down":
                print(lab.stop())
            case "status":
                status = lab.status()
                print(status)
                return 0 if status.whole else 1
    except UserError as error:
        print(f"lab: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
