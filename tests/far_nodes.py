"""A node of a Ray cluster in a network namespace of its own, so that its cable can be pulled."""

import os
import subprocess
import sys
from pathlib import Path


class Far:
    """A node behind a network of its own, which can be cut and joined again."""

    def __init__(self, head: str, place: Path) -> None:
        self.name, self.cable = f"ar{os.getpid()}", f"ar{os.getpid()}"[:12]
        ip(f"netns add {self.name}")
        try:
            ip(f"link add {self.cable} type veth peer name {self.cable}-b")
            ip(f"link set {self.cable}-b netns {self.name}")
            ip(f"addr add 10.211.77.1/24 dev {self.cable}")
            ip(f"link set {self.cable} up")
            for command in (
                "link set lo up",
                f"addr add 10.211.77.2/24 dev {self.cable}-b",
                f"link set {self.cable}-b up",
            ):
                ip(f"-n {self.name} {command}")
            ip(f"-n {self.name} route add default via 10.211.77.1")
            join = ["ip", "netns", "exec", self.name, sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
            join += [f"--address={head}", "--num-cpus=1", "--node-ip-address=10.211.77.2"]
            join += [f"--object-store-memory={100 << 20}", "--include-log-monitor=false"]
            with (place / "far.txt").open("w") as said:
                self.raylet = subprocess.Popen(join, stdout=said, stderr=said)
        except BaseException:
            self.close()
            raise

    def cut(self) -> None:
        ip(f"-n {self.name} link set {self.cable}-b down")

    def mend(self) -> None:
        ip(f"-n {self.name} link set {self.cable}-b up")
        ip(f"-n {self.name} route replace default via 10.211.77.1")

    def close(self) -> None:
        if raylet := getattr(self, "raylet", None):
            raylet.terminate()
            raylet.wait(120)
        subprocess.run(["ip", "netns", "del", self.name], check=False)  # its end of the cable goes with it


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True, capture_output=True)


def has_networks() -> bool:
    """Whether we may make network namespaces here."""
    made = subprocess.run(["sh", "-c", "ip netns add ar-try && ip netns del ar-try"], capture_output=True, check=False)
    return made.returncode == 0
