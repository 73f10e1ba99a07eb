"""
Runs one command in namespaces of its own, with Landlock on top: the sandbox where bubblewrap is not installed.

A program of its own (standard library only, Linux only), started by a keeper:

    python -I -S jail.py '{"cwd": ..., "read": [...], "write": [...], ...}' COMMAND [ARGUMENT ...]

The command sees a new root with nothing but what it was granted, its own processes, and no network. This
process becomes the first of the new process namespace: when it ends, the kernel ends every other in there.
Exit code 125 and a line on standard error: the kernel does not allow this here.

Sources: namespaces(7), user_namespaces(7), pivot_root(2), landlock(7), capabilities(7).
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import struct
import sys
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
FAILED = 125

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_CAPBSET_DROP = 1, 38, 24
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
# arch-specific system calls that libc does not wrap
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
KERNEL_SETTINGS = ("sys", "sysrq-trigger", "irq", "bus", "fs")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")

# linux/landlock.h: access rights to files, by the version of the interface that brought them
EXECUTE, READ_FILE, READ_DIR = 1 << 0, 1 << 2, 1 << 3
ALL_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
NET_TCP = 0b11  # bind and connect, since version 4
RULE_FILES, RULE_PORT = 1, 2
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)
SCOPES = 0b11  # abstract Unix sockets and signals, since version 6


class Refused(Exception):
    """The kernel does not allow a step; says which."""


def main(job: dict[str, Any], argv: list[str]) -> int:
    """Set everything up, run the command, and return its exit code."""
    uid, gid = os.getuid(), os.getgid()
    spaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP
    call("unshare", LIBC.unshare(spaces | (0 if job["network"] else CLONE_NEWNET)))
    write("/proc/self/setgroups", "deny")
    write("/proc/self/uid_map", f"{uid} {uid} 1")
    write("/proc/self/gid_map", f"{gid} {gid} 1")
    if job["loopback"]:
        raise_loopback()
    first = os.fork()
    if first:
        return exit_code(os.waitpid(first, 0)[1])
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    enter_new_root(job)
    limit(job)
    # As the first process of its namespace the command would ignore signals it has no handler for.
    command = os.fork()
    if command == 0:
        give_up_privileges()
        restrict(job)
        os.chdir(job["cwd"])
        os.execvpe(argv[0], argv, os.environ)
    return reap_until(command)


def reap_until(command: int) -> int:
    """Wait for the command; adopt and bury everything else."""
    while True:
        pid, status = os.wait()
        if pid == command:
            return exit_code(status)


def exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


# -- what it sees --------------------------------------------------------------------------------------


def enter_new_root(job: dict[str, Any]) -> None:
    """A root of its own, in memory, with the granted paths bound into it at their own places."""
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    root = "/tmp"  # covered in this mount namespace only
    scratch = f"size={job['memory_mb'] or 1024}m,mode=755"
    old = {path: os.open(path, os.O_PATH) for path in [*job["read"], *job["write"]] if os.path.exists(path)}
    links = {path: os.readlink(path) for path in job["links"]}
    devices = {name: os.open(f"/dev/{name}", os.O_PATH) for name in DEVICES if os.path.exists(f"/dev/{name}")}
    devices |= {path.removeprefix("/dev/"): os.open(path, os.O_PATH) for path in job["devices"]}
    mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, scratch)
    for path, target in links.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(target, root + path)
    for name in ("/proc", "/tmp", "/dev/shm"):
        os.makedirs(root + name, exist_ok=True)
    for name in ("/tmp", "/dev/shm"):
        mount("tmpfs", root + name, "tmpfs", MS_NOSUID | MS_NODEV, scratch.replace("755", "1777"))
    for path, fd in old.items():  # parents come before what lies in them, so that nothing is covered
        bind(fd, root + path, read_only=path not in job["write"])
    for name, fd in devices.items():
        bind(fd, f"{root}/dev/{name}", read_only=False)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV)
    for name in KERNEL_SETTINGS:  # root in here is root for these, and no namespace has its own
        if os.path.exists(f"{root}/proc/{name}"):
            bind(os.open(f"{root}/proc/{name}", os.O_PATH), f"{root}/proc/{name}", read_only=True)
    os.mkdir(f"{root}/.old")
    machine = os.uname().machine
    if machine not in SYS_PIVOT_ROOT:
        raise Refused(f"pivot_root is not known for {machine}")
    call("pivot_root", LIBC.syscall(SYS_PIVOT_ROOT[machine], root.encode(), f"{root}/.old".encode()))
    os.chdir("/")
    call("umount", LIBC.umount2(b"/.old", MNT_DETACH))
    os.rmdir("/.old")
    mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    call("sethostname", LIBC.sethostname(b"sandbox", 7))


def bind(fd: int, target: str, read_only: bool) -> None:
    """Bind what an open descriptor names; by descriptor, since the path may be covered by now."""
    source = f"/proc/self/fd/{fd}"
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        open(target, "a").close()
    mount(source, target, None, MS_BIND | MS_REC)
    os.close(fd)
    if read_only:
        # What the mount it comes from has locked must be asked for again, or the kernel refuses.
        kept = os.statvfs(target).f_flag & (os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC | os.ST_NOATIME | os.ST_RELATIME)
        flags = MS_NOSUID | (kept & os.ST_NODEV) | (kept & os.ST_NOEXEC)
        flags |= (1 << 10 if kept & os.ST_NOATIME else 0) | (1 << 21 if kept & os.ST_RELATIME else 0)
        mount(None, target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [word.encode() if word is not None else None for word in (source, target, kind)]
    done = LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() if data else None)
    call(f"mount on {target}", done)


def raise_loopback() -> None:
    """Bring up the loopback device of a network namespace of our own: there is no other device in there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


# -- what it may do ------------------------------------------------------------------------------------


def limit(job: dict[str, Any]) -> None:
    """Per process; how many processes and how much disk there may be in all is the keeper's to watch."""
    limits = {
        resource.RLIMIT_NPROC: job["processes"],
        resource.RLIMIT_FSIZE: job["disk_mb"] and job["disk_mb"] << 20,
        resource.RLIMIT_DATA: job["memory_mb"] and job["memory_mb"] << 20,
    }
    for which, value in limits.items():
        if value:
            resource.setrlimit(which, (value, value))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def give_up_privileges() -> None:
    for capability in range(64):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    call("no_new_privs", LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    header, nothing = struct.pack("<Ii", 0x20080522, 0), struct.pack("<6I", 0, 0, 0, 0, 0, 0)
    call("capset", LIBC.capset(header, nothing))


def restrict(job: dict[str, Any]) -> None:
    """Landlock: the same grants once more, in a layer that does not depend on mounts. Nothing where it is absent."""
    version = LIBC.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    handled = ALL_RIGHTS[max(v for v in ALL_RIGHTS if v <= version)]
    network = NET_TCP if version >= 4 and not job["network"] else 0
    rules = struct.pack("<QQQ", handled, network, SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = LIBC.syscall(SYS_LANDLOCK_CREATE_RULESET, rules, size, 0)
    call("landlock", ruleset)
    read = handled & (EXECUTE | READ_FILE | READ_DIR)
    grants = dict.fromkeys([*job["read"], "/proc"], read)
    grants |= dict.fromkeys([*job["write"], "/tmp", "/dev"], handled)
    for path, rights in grants.items():
        if os.path.exists(path):
            fd = os.open(path, os.O_PATH)
            rights = rights if os.path.isdir(path) else rights & (EXECUTE | READ_FILE | 1 << 1 | 1 << 14 | 1 << 15)
            rule = struct.pack("<Qi", rights & handled, fd)
            call(f"landlock rule for {path}", LIBC.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, RULE_FILES, rule, 0))
            os.close(fd)
    if network and job["loopback"]:
        rule = struct.pack("<QQ", NET_TCP, job["loopback"])
        call("landlock rule for a port", LIBC.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, RULE_PORT, rule, 0))
    call("landlock", LIBC.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


# -- helpers -------------------------------------------------------------------------------------------


def write(path: str, text: str) -> None:
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None


def call(what: str, result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise Refused(f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")


if __name__ == "__main__":
    try:
        code = main(json.loads(sys.argv[1]), sys.argv[2:])
    except (Refused, OSError) as error:
        print(f"sandbox: {error}", file=sys.stderr)
        code = FAILED
    os._exit(code)
