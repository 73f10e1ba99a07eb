"""
A Slurm cluster on this machine, from the daemons that Debian packages: a controller, and nodes with one core each.

Needs root, and `apt-get install slurmctld slurmd slurm-client munge`. Everything it writes lies in one folder.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from helpers import eventually

DAEMONS = ("munged", "slurmctld", "slurmd", "sbatch")
STARTED_S = 60.0
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge.sock
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SlurmdTimeout=5
KillWait=15
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=spare Nodes=n1,n2 PreemptMode=CANCEL State=UP
PartitionName=urgent Nodes=n1,n2 PriorityTier=2 State=UP
PartitionName=short Nodes=n1 MaxTime=12 State=UP
"""
LARGE = """
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=g1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=8 RealMemory=4000 Gres=gpu:a100:1 State=UNKNOWN
PartitionName=gpu Nodes=g1 MaxTime=INFINITE State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=1 RealMemory=4000 State=UNKNOWN"


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    lacking = [name for name in DAEMONS if not _found(name)]
    if lacking:
        return f"{', '.join(lacking)} of Debian's packages slurmctld, slurmd, slurm-client and munge are not installed"
    return "" if os.getuid() == 0 else "Slurm's daemons want to be started by root"


class Cluster:
    """`home` is for its configuration, state and output; its path must be short enough for a socket."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        host, ports = socket.gethostname(), _free_ports(3)
        home.chmod(0o711)  # as munged wants it: who may use it can reach its socket
        (home / "state").mkdir()
        (home / "munge.key").write_bytes(secrets.token_bytes(1024))
        (home / "munge.key").chmod(0o400)
        nodes = [NODE.format(name=f"n{i}", host=host, port=ports[i]) for i in (1, 2)]
        (home / "slurm.conf").write_text(CONF.format(home=home, host=host, port=ports[0], nodes="\n".join(nodes)))
        os.environ["SLURM_CONF"] = str(home / "slurm.conf")

    def start(self) -> None:
        key = [f"--{name}={self.home}/munge.{end}" for name, end in (("key-file", "key"), ("socket", "sock"))]
        key += [f"--{name}-file={self.home}/munge.{name}" for name in ("pid", "log", "seed")]
        self._start("munged", "--foreground", *key)
        assert eventually((self.home / "munge.sock").exists, within_s=10), (self.home / "munged.out").read_text()
        self.start_controller()
        for node in ("n1", "n2"):
            self.start_node(node)
        self.get_ready()

    def get_ready(self) -> None:
        """
        Until both nodes wait for jobs. What a killed controller had not written down it does again: jobs of earlier tests, which
        nobody waits for.
        """
        self.asked("scancel", "--partition=main")
        ready = eventually(lambda: self.asked("sinfo", "-h", "-p", "main", "-t", "idle", "-o", "%D") == "2", STARTED_S)
        assert ready, self.asked("sinfo", "-R", "-l") + (self.home / "slurmctld.out").read_text()[-2000:]

    def start_controller(self) -> None:
        self._start("slurmctld", "-D")
        assert eventually(lambda: "UP" in self.asked("scontrol", "ping"), within_s=STARTED_S)

    def start_node(self, node: str) -> None:
        self._start("slurmd", "-D", "-N", node, name=node)

    def grow(self) -> None:
        """
        One node more, g1, which says that it has eight cores and a card. For the last test on this cluster: nodes that slurm.conf
        names and that are not there delay what the others do.
        """
        self.kill("slurmctld")
        (self.home / "gres.conf").write_text("NodeName=g1 Name=gpu Type=a100 File=/dev/null\n")
        with (self.home / "slurm.conf").open("a") as conf:
            conf.write(LARGE.format(host=socket.gethostname(), port=_free_ports(1)[0]))
        self.start_controller()
        self.start_node("g1")

    def kill(self, name: str) -> None:
        daemon = self.running.pop(name)
        daemon.kill()
        daemon.wait()

    def lose(self, node: str, job: str) -> None:
        """As if the power had gone: the node's daemon, and all that it had started for a job."""
        self.kill(node)
        (step,) = (
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if path.read_bytes().startswith(f"slurmstepd: [{job}.batch]".encode())
        )
        for pid in [step, *_below(step)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def start_now(self, job: str) -> None:
        """
        Slurm lets two minutes pass before it begins a job anew. One second it needs: a node refuses a job that is started in
        the second in which it was killed ("already killed, do not launch"), and Slurm then calls it FAILED.
        """
        waits = ["squeue", "-h", "-j", job, "-o", "%T %r"]
        assert eventually(lambda: self.asked(*waits) == "PENDING BeginTime", within_s=60), self.asked(*waits)
        self.asked("scontrol", "update", f"JobId={job}", "StartTime=now+1")

    def state(self, job: str) -> str:
        return self.asked("squeue", "-h", "--states=all", "-j", job, "-o", "%T")

    def stop(self) -> None:
        subprocess.run(["scancel", f"--user={os.getuid()}"], capture_output=True, check=False)
        eventually(lambda: not self.asked("squeue", "-h"), within_s=15)
        for daemon in reversed(self.running.values()):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.running.values():
            daemon.wait()

    def asked(self, *command: str) -> str:
        """What a command of Slurm's prints."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    def _start(self, *command: str, name: str = "") -> None:
        with (self.home / f"{name or command[0]}.out").open("ab") as out:
            started = subprocess.Popen([_found(command[0]), *command[1:]], stdout=out, stderr=out)
        self.running[name or command[0]] = started


def _found(name: str) -> str:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin") or ""


def _below(pid: int) -> list[int]:
    found = [pid]
    for one in found:  # grows meanwhile
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += map(int, children.read_text().split())
    return found[1:]


def _free_ports(n: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
