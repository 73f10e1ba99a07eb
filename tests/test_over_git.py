"""Sharing over a git remote: real repositories, whose refs anybody may overwrite."""

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from helpers import alive, fingerprint, git, repository, write
from lossy import STUDY, finding, hello, identity
from swarm_node import Running, until, until_equal

from autoresearch.errors import StudyError
from autoresearch.share.bare import address
from autoresearch.share.book import Book
from autoresearch.share.exchange import Exchange
from autoresearch.share.over_git import OverGit
from autoresearch.share.receipt import Ack

SPACE = f"refs/autoresearch-swarm/{STUDY}"


class Peer:
    """A peer with a book in memory and a bare repository in a folder."""

    def __init__(
        self, folder: Path, number: int, remote: Path | str, speaks: bool = True, beacon_s: float = 1e9
    ) -> None:
        self.me, self.book, self.refused = identity(number), Book(), list[str]()
        self.exchange = Exchange(self.book, self.me, 1, lambda: 0.0, self.refused.append)
        self.share = OverGit(self.exchange, folder / f"{number}.git", str(remote), STUDY, 20.0, 0.0, beacon_s)
        self.ref = f"{SPACE}/{self.me.peer}"
        if speaks:
            self.book.say(self.me, hello(number))

    def turn(self) -> str:
        self.share.beat(self.exchange.beacon())
        return self.share.turn()

    def knows(self, other: "Peer") -> int:
        return self.book.head(other.me.peer).seq


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """As people make one for several: it takes no push that is not a fast-forward."""
    folder = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", "--shared", str(folder))
    return folder


def test_two_clones_of_one_bare_repository_share_without_a_socket(tmp_path: Path, remote: Path) -> None:
    """Five peers who lose a fifth of what they read; two are killed and come back; one joins late."""
    clones = [repository(tmp_path / name, {"train.py": "x = 1\n"}) for name in ("one", "two")]
    for clone in clones:
        git(clone, "remote", "add", "origin", str(remote))
        (clone / ".autoresearch").mkdir()
    before = [fingerprint(clone) for clone in clones]
    where = [address(clone, "origin") for clone in clones]
    nodes = [Running(clones[n % 2] / ".autoresearch", n + 1, "git", where[n % 2]) for n in range(4)]
    try:
        for node in nodes:
            node.say(12)
        until(lambda: all(len(node.said) >= 3 for node in nodes), "said")
        for node in nodes[:2]:
            node.kill()
        nodes.append(Running(clones[0] / ".autoresearch", 5, "git", where[0]))
        for node in nodes[:2]:
            node.restart()
        for node in nodes:
            node.say(3)
        until(lambda: all(len(node.said) >= 3 for node in nodes), "said")
        until_equal(nodes)
        assert not any(node.sockets() for node in nodes)
    finally:
        for node in nodes:
            node.kill()
    assert [fingerprint(clone) for clone in clones] == before
    assert set(git(remote, "for-each-ref", "--format=%(refname)").split()) == {
        f"{SPACE}/{identity(n).peer}" for n in range(1, 6)
    }


def vandal(remote: Path, ref: str, content: bytes | None = None, path: str = "receipts/000001.jsonl") -> None:
    """Put a commit of one file under a ref, or take the ref away."""
    if content is None:
        git(remote, "update-ref", "-d", ref)
        return
    folder = remote.parent / "vandal"
    if not folder.exists():
        repository(folder, {"README": "\n"})
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "by a vandal")
    git(folder, "push", "--quiet", "--force", str(remote), f"HEAD:{ref}")


def rolled_back(remote: Path, ref: str) -> None:
    git(remote, "update-ref", ref, f"{ref}~1")


def to_a_blob(remote: Path, ref: str) -> None:
    git(remote, "update-ref", ref, git(remote, "hash-object", "-w", "--stdin", input="no commit"))


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(vandal, id="deleted"),
        pytest.param(lambda remote, ref: vandal(remote, ref, b"not a receipt\n" * 9), id="overwritten"),
        pytest.param(rolled_back, id="rolled back"),
    ],
)
def test_a_ref_that_somebody_spoiled_is_put_right_and_nothing_is_forgotten(
    tmp_path: Path, remote: Path, harm: Callable[[Path, str], None]
) -> None:
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    assert [one.turn(), two.turn()] == ["", ""]
    one.book.say(one.me, finding(1))
    assert [one.turn(), two.turn(), one.turn()] == [""] * 3
    right = git(remote, "rev-parse", f"{one.ref}:receipts")
    harm(remote, one.ref)
    assert two.turn() == ""
    assert two.knows(one) == 2
    assert one.turn() == ""
    assert git(remote, "rev-parse", f"{one.ref}:receipts") == right
    late = Peer(tmp_path, 3, remote)
    assert late.turn() == ""
    assert late.knows(one) == 2


def test_a_ref_that_is_no_commit_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    remote = tmp_path / "remote.git"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    assert [one.turn(), two.turn()] == ["", ""]
    to_a_blob(remote, one.ref)
    to_a_blob(remote, f"{SPACE}/{identity(50).peer}")
    to_a_blob(remote, f"{SPACE}/not-a-peer")
    late = Peer(tmp_path, 3, remote)
    assert late.turn() == ""
    assert late.knows(two) == 1
    assert one.turn() == ""  # its own, by force, since nothing else goes
    assert late.turn() == ""
    assert late.knows(one) == 1


def test_the_receipts_of_a_peer_whose_ref_is_gone_reach_newcomers_through_one_of_the_others(
    tmp_path: Path, remote: Path
) -> None:
    gone, *others = [Peer(tmp_path, n, remote) for n in range(1, 6)]
    gone.book.say(gone.me, finding(1))
    for peer in (gone, *others):
        assert peer.turn() == ""
    assert others[0].turn() == ""
    vandal(remote, gone.ref)
    newcomer = Peer(tmp_path, 7, remote)
    for _ in range(8):
        for peer in (*others, newcomer):
            assert peer.turn() == ""
    assert newcomer.knows(gone) == 2
    relayed = [
        path
        for ref in git(remote, "for-each-ref", "--format=%(refname)").split()
        for path in git(remote, "ls-tree", "-r", "--name-only", ref).split()
    ]
    assert relayed.count(f"relay/{gone.me.peer}/000001.jsonl") == 1
    assert gone.turn() == ""  # and is back
    for _ in range(2):
        for peer in others:
            assert peer.turn() == ""
    refs = git(remote, "for-each-ref", "--format=%(refname)").split()
    assert not any("relay" in git(remote, "ls-tree", "--name-only", ref).split() for ref in refs)


def test_what_came_another_way_is_brought_to_those_who_have_only_git(tmp_path: Path, remote: Path) -> None:
    bridge, far = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    alive = Peer(tmp_path, 9, remote)  # never has a turn
    for k in range(3):
        alive.book.say(alive.me, finding(k))
    for data in alive.book.missing({}, 1 << 20):
        bridge.exchange.take(data)
    for _ in range(7):
        assert [bridge.turn(), far.turn()] == ["", ""]
    assert far.knows(alive) == 4


def test_shards_are_filled_and_only_what_is_new_is_read(tmp_path: Path, remote: Path) -> None:
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    for k in range(599):
        one.book.say(one.me, Ack(f"{k:064x}"))
    assert [one.turn(), two.turn()] == ["", ""]
    names = git(remote, "ls-tree", "-r", "--name-only", one.ref).split()
    assert names == ["beacon", *(f"receipts/{n:06d}.jsonl" for n in (1, 2, 3))]
    sizes = [len(git(remote, "show", f"{one.ref}:{name}").splitlines()) for name in names[1:]]
    assert sizes == [256, 256, 88]
    assert two.knows(one) == 600
    taken = list[bytes]()
    take = two.exchange.take
    two.exchange.take = lambda data: taken.append(data) or take(data)  # type: ignore[func-returns-value,method-assign]
    one.book.say(one.me, finding(1))
    assert [one.turn(), two.turn()] == ["", ""]
    assert len(taken) == 1
    again = Peer(tmp_path, 2, remote, speaks=False)  # with nothing but its repository
    assert again.turn() == ""
    assert again.book.digest() == two.book.digest()


def test_no_file_is_larger_than_others_will_read(tmp_path: Path, remote: Path) -> None:
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    large = msgspec.structs.replace(finding(1), patch="+x\n" * 13000)
    for k in range(120):
        one.book.say(one.me, large if k % 2 else finding(k))
    assert [one.turn(), two.turn()] == ["", ""]
    assert two.knows(one) == 121
    assert len(git(remote, "ls-tree", "-r", "--name-only", one.ref).split()) > 1


def test_what_a_stranger_pushes_is_bounded_and_keeps_nobody_from_the_others(tmp_path: Path, remote: Path) -> None:
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    assert one.turn() == ""
    strange = f"{SPACE}/{identity(50).peer}"
    vandal(remote, strange, b"x" * (5 << 20))
    vandal(remote, strange, b'{"body":' * 1000 + b"\n", "receipts/000002.jsonl")
    vandal(remote, strange, b"\0\xff" * 99, f"relay/{one.me.peer}/000001.jsonl")
    vandal(remote, strange, b"{}", "beacon")
    vandal(remote, strange, b"x" * 99, "receipts/a name\twith\nall sorts.jsonl")
    vandal(remote, f"{SPACE}/deeper/{identity(51).peer}", b"x")
    vandal(remote, f"refs/autoresearch-swarm/{'f' * 16}/{identity(52).peer}", one.book.missing({}, 1 << 20)[0] + b"\n")
    for _ in range(3):
        assert two.turn() == ""
    assert two.book.heads().keys() == {one.me.peer, two.me.peer}
    assert any("larger" in why for why in two.refused)
    assert len(two.refused) < 10


def test_a_remote_that_is_not_there_is_a_sentence(tmp_path: Path, remote: Path) -> None:
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    away = remote.rename(tmp_path / "away")
    one.book.say(one.me, finding(1))
    assert "sharing over git: git ls-remote: fatal: " in one.turn()
    away.rename(remote)
    assert [one.turn(), two.turn()] == ["", ""]
    assert two.knows(one) == 2
    for path in sorted((tmp_path / "1.git").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    one.book.say(one.me, finding(2))
    one.turn()
    assert [one.turn(), two.turn()] == ["", ""]
    assert two.knows(one) == 3


def test_a_git_that_hangs_is_ended_and_nobody_is_asked_for_a_password(tmp_path: Path, home: Path) -> None:
    script = tmp_path / "ssh"
    write(
        tmp_path,
        {
            "ssh": f"#!/bin/sh\n(: </dev/tty) 2>/dev/null && echo asked >{tmp_path}/asked\necho $$ >>{tmp_path}/pids\nsleep 600\n"
        },
    )
    script.chmod(0o755)
    with (home / ".gitconfig").open("a") as file:
        file.write(f"[core]\n\tsshCommand = {script}\n")
    one = Peer(tmp_path, 1, "nobody@example.org:shared.git")
    with one.share.bare.held():  # is made
        one.share.bare.limit_s = 1.5
    assert "took longer than 1.5 s" in one.turn()
    pids = (tmp_path / "pids").read_text().split()
    assert pids
    until(lambda: not any(alive(int(pid)) for pid in pids), "ended")
    assert not (tmp_path / "asked").exists()


def test_a_turn_that_hangs_ends_when_sharing_ends(tmp_path: Path, home: Path) -> None:
    write(tmp_path, {"ssh": f"#!/bin/sh\necho $$ >>{tmp_path}/pids\nsleep 600\n"})
    (tmp_path / "ssh").chmod(0o755)
    with (home / ".gitconfig").open("a") as file:
        file.write(f"[core]\n\tsshCommand = {tmp_path}/ssh\n")
    one, said = Peer(tmp_path, 1, "nobody@example.org:shared.git"), list[str]()
    thread = threading.Thread(target=lambda: said.append(one.turn()))
    thread.start()
    until((tmp_path / "pids").exists, "begun")
    one.share.close()
    thread.join()
    assert said == [""]
    assert one.turn() == ""


def test_who_may_not_push_still_reads(tmp_path: Path, remote: Path) -> None:
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    assert one.turn() == ""
    write(remote / "hooks", {"pre-receive": "#!/bin/sh\nexit 1\n"})
    (remote / "hooks/pre-receive").chmod(0o755)
    assert "rejected" in two.turn()
    assert two.knows(one) == 1


def test_locks_that_a_killed_git_left_do_not_stay(tmp_path: Path, remote: Path) -> None:
    one = Peer(tmp_path, 1, remote)
    assert one.turn() == ""
    again = Peer(tmp_path, 1, remote, speaks=False)
    for name in ("refs/ours.lock", "packed-refs.lock", "config.lock"):
        (tmp_path / "1.git" / name).touch()
    assert again.turn() == ""
    again.book.say(again.me, finding(1))
    assert again.turn() == ""
    assert len(git(remote, "show", f"{one.ref}:receipts/000001.jsonl").splitlines()) == 2


def test_two_processes_with_one_folder_have_their_turns_one_at_a_time(tmp_path: Path, remote: Path) -> None:
    one, same = Peer(tmp_path, 1, remote), Peer(tmp_path, 1, remote, speaks=False)
    with one.share.bare.held() as held:
        assert held
        assert same.turn() == ""
        assert not same.book.entries
    assert one.turn() == ""
    assert same.turn() == ""
    assert same.book.digest() == one.book.digest()


@pytest.mark.parametrize("strict", [False, True])
def test_beacons_are_heard_and_leave_no_history_where_the_remote_allows_that(
    tmp_path: Path, remote: Path, strict: bool
) -> None:
    if strict:
        write(remote / "hooks", {"update": '#!/bin/sh\n! test "$(git rev-list $3..$2 2>/dev/null)"\n'})
        (remote / "hooks/update").chmod(0o755)
    one, two = Peer(tmp_path, 1, remote, beacon_s=0.0), Peer(tmp_path, 2, remote)
    assert [one.turn(), two.turn()] == ["", ""]
    assert not two.exchange.heard  # it may have been there for a year
    for k in range(6):
        one.share.beat(one.exchange.beacon([f"{k:08x}"]))
        assert [one.share.turn(), two.turn()] == ["", ""]
    assert two.exchange.heard[one.me.peer].beacon.leases == ("00000005",)
    commits = len(git(remote, "rev-list", one.ref).splitlines())
    assert commits == (7 if strict else 1)
    one.book.say(one.me, finding(1))
    assert [one.turn(), two.turn()] == ["", ""]
    assert len(git(remote, "rev-list", one.ref).splitlines()) == commits + 1
    assert two.knows(one) == 2


def test_a_remote_is_left_alone_unless_there_is_something_to_say(tmp_path: Path, remote: Path) -> None:
    one, two = Peer(tmp_path, 1, remote), Peer(tmp_path, 2, remote)
    one.share._pace = 1e9
    assert [one.turn(), two.turn(), one.turn()] == ["", "", ""]
    assert not one.knows(two)
    one.book.say(one.me, finding(1))
    assert [one.turn(), two.turn()] == ["", ""]
    assert one.knows(two)
    assert two.knows(one) == 2


def test_where_a_remote_is(tmp_path: Path, remote: Path) -> None:
    clone = repository(tmp_path / "clone", {"a": "1"})
    git(clone, "remote", "add", "origin", "../remote.git")
    git(clone, "remote", "add", "far", "git@example.org:a/b.git")
    assert address(clone, "origin") == str(remote)
    assert address(clone, "../remote.git") == str(remote)
    assert address(clone, "far") == "git@example.org:a/b.git"
    assert address(clone, "https://example.org/x.git") == "https://example.org/x.git"
    for bad in ("nowhere", "--upload-pack=touch", ""):
        with pytest.raises(StudyError, match="remote"):
            address(clone, bad)
