"""
What the page of a live study has beside that of every other: what waits for a person's word, what visitors are shown, and the map.

The queue and how a level would look are for those who may steer. Everything else may be read by whoever reads the page. Where the study
is not live, there is nothing of this.
"""

import contextlib
import hashlib
import hmac
import secrets
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from autoresearch.errors import AutoresearchError, StudyError
from autoresearch.git import git
from autoresearch.study import Study, load
from autoresearch.web.feed import Feed
from autoresearch.web.rows import clean
from autoresearch.workspace import HOME, Workspace

if TYPE_CHECKING:
    from autoresearch.campaign.atlas import Atlas
    from autoresearch.campaign.own import Own
    from autoresearch.live.records import Plan
    from autoresearch.live.store import Store
    from autoresearch.live.variables import Variables

MOST_WAITING = 50
WORDS, SEEN = 2000, 8000  # characters
PLAN_S = 1.0  # between two looks at the latest plan
EVERY_S, SHARE = 2.0, 10  # from one map to the next: so many seconds, and so many times what the last one took


class Word(Struct, frozen=True, forbid_unknown_fields=True):
    """What the page sends with a yes or a no."""

    trial: int
    why: str = ""


def live_study(folder: Path) -> Study | None:
    """The study in this folder, if it is one of real traffic. Whoever asks for a study is told elsewhere what is wrong with it."""
    with contextlib.suppress(AutoresearchError):
        found = load(folder)
        return found if found.live is not None else None
    return None


class Campaign:
    """Of the study in `folder`. Thread-safe."""

    def __init__(self, folder: Path, secret: str, feed: Feed) -> None:
        self.folder, self.home, self._feed, self._secret = folder, folder / HOME, feed, secret
        self._lock, self._mapping = threading.Lock(), threading.Lock()
        self._store: Store | None = None
        self._variables: tuple[str, Variables] | None = None
        self._own: Own | None = None
        self._plan: tuple[float, Plan | None] = float("-inf"), None
        self._told: tuple[str, bytes, Atlas | None] | None = None
        self._next = 0.0
        self.study = live_study(folder)

    @property
    def live(self) -> bool:
        return self.study is not None

    def close(self) -> None:
        with self._lock:
            if self._store is not None:
                self._store.close()
            self._store = None

    # -- what changed ------------------------------------------------------------------------------------

    def mark(self) -> dict[str, str] | None:
        """Others whenever there may be something new; None where the study is not live or was never run."""
        if self.study is None or not self._begun():
            return None
        at, _ = self._feed.head()
        try:
            plan = self.plan()
        except AutoresearchError:
            plan = None  # told with the map
        said = zlib.crc32(repr(self._said()).encode())
        return {
            "queue": f"{at}.{said}",
            "map": f"{at}.{plan.number if plan else 0}.{int(time.time() // 60)}",
        }

    def _begun(self) -> bool:
        with self._feed.lock:
            return self._feed.state.opened is not None and self._feed.state.best is not None

    def _said(self) -> dict[int, bool]:
        """Words that wait to be taken up."""
        from autoresearch.inbox import Inbox

        return {number: word.yes for number, word in Inbox(self.home).approvals()}

    def store(self) -> "Store":
        from autoresearch.campaign import house

        assert self.study is not None
        assert self.study.live is not None
        with self._lock:
            if self._store is None:
                self._store = house.store_of(self.study.name, self.study.live, self.home)
            return self._store

    def plan(self) -> "Plan | None":
        """The latest, as of a moment ago."""
        at, known = self._plan
        now = time.monotonic()
        if now - at >= PLAN_S:
            known = self.store().plan()
            self._plan = now, known
        return known

    # -- what waits --------------------------------------------------------------------------------------

    def queue(self) -> bytes:
        """
        What waits for a person's word, as JSON.

        Raises:
            AutoresearchError: it cannot be made out; the message says why.
        """
        from autoresearch.campaign import queue

        said = self._said()
        self._feed.poll()
        with self._feed.lock:
            state, variables = self._feed.state, self.variables()
            template, rules = self.own().template, self.own().rules
            found = queue.waits(state, variables, template, rules)
            commits = {one.trial: state.trials[one.trial].commit or "" for one in found}
        is_page = template is not None and template.html
        left = [one for one in found if one.trial not in said]
        decided = [said[one.trial] for one in found if one.trial in said]
        rows = [
            {
                **{
                    name: value
                    for name, value in msgspec.to_builtins(one).items()
                    if name not in ("breaks", "claims", "seen")
                },
                **{name: clean(getattr(one, name), WORDS) for name in ("text", "beside", "about", "idea")},
                "by": clean(one.by, 40),
                "breaks": [clean(each, 500) for each in one.breaks[:5]],
                "claims": [clean(each, 200) for each in one.claims[:5]],
                "look": f"api/look/{one.trial}/{self.key(one.trial, commits[one.trial])}/" if is_page else None,
                "seen": None if is_page else clean(one.seen, SEEN),
            }
            for one in left[:MOST_WAITING]
        ]
        return msgspec.json.encode(
            {
                "rows": rows,
                "n": len(left),
                "approved": sum(decided),
                "refused": len(decided) - sum(decided),
                "rules": rules is not None,
                "channel": self._channel(),
            }
        )

    def decide(self, yes: bool, body: bytes) -> str:
        """
        Leave a person's word; what to say of it.

        Raises:
            StudyError: the level does not wait, or the reason is too long.
            msgspec.MsgspecError: the body is none.
        """
        from autoresearch.campaign import queue

        word = msgspec.json.decode(body, type=Word)
        self._feed.poll()
        with self._feed.lock:
            queue.say(self.home, self._feed.state, [word.trial], yes, word.why)
        return "Approved: it is shown with the next plan." if yes else "Refused: it is not shown."

    def variables(self) -> "Variables":
        """Those of the best. The feed's lock is held."""
        from autoresearch.live.variables import FILE, parse

        best = self._feed.state.best
        if self.study is None or best is None:
            raise StudyError("this study was not run yet: `autoresearch live serve`")
        if self._variables is None or self._variables[0] != best.commit:
            where = f"{best.commit}:{Workspace(self.folder, self.study).prefix}{FILE}"
            self._variables = best.commit, parse(git(self.folder, "show", where).decode())
        return self._variables[1]

    def _start(self) -> str:
        """The commit that the study began from."""
        opened = self._feed.state.opened
        if self.study is None or opened is None:
            raise StudyError("this study was not run yet: `autoresearch live serve`")
        return opened.start

    def _channel(self) -> str:
        assert self.study is not None
        assert self.study.live is not None
        return self.study.live.channel

    def own(self) -> "Own":
        """
        The study's own files. The feed's lock is held.

        Raises:
            StudyError: the study was not run yet.
        """
        from autoresearch.campaign.own import Own

        start = self._start()
        if self._own is None or self._own.start != start:
            assert self.study is not None
            assert self.study.live is not None
            self._own = Own(Workspace(self.folder, self.study), start, self.study.live)
        return self._own

    # -- how it would look -------------------------------------------------------------------------------

    def key(self, trial: int, commit: str) -> str:
        """Opens the look of one level and nothing else, so that the token stays out of addresses."""
        return hmac.new(self._secret.encode(), f"look\0{trial}\0{commit}".encode(), hashlib.sha256).hexdigest()[:32]

    def opens(self, trial: int, given: str) -> bool:
        """Whether a look's address is one that we gave."""
        self._feed.poll()
        with self._feed.lock:
            found = self._feed.state.trials.get(trial)
            commit = found.commit if found else None
        return commit is not None and hmac.compare_digest(self.key(trial, commit).encode(), given.encode())

    def look(self, trial: int) -> tuple[str, str]:
        """
        A page as it would look with a level, and the nonce that the template's own styles carry.

        Raises:
            StudyError: it cannot be made.
        """
        from autoresearch.campaign import levels, queue

        nonce = secrets.token_urlsafe(16)
        with self._feed.lock:
            level = levels.of(self._feed.state.trials[trial])
            if level is None:
                raise StudyError(f"trial {trial} is about no level")
            template = self.own().template
            if template is None or not template.html:
                raise StudyError(
                    f"{template.name if template else 'this study'} is no page; the queue shows it as text"
                )
            return queue.look(self._feed.state, self.variables(), level, template, nonce), nonce

    def picture(self, name: str) -> tuple[bytes, str] | None:
        """A file that the page shows beside words, and its kind; None where it has none of that name that it could show."""
        with self._feed.lock:
            return self.own().picture(name)

    # -- the map -----------------------------------------------------------------------------------------

    def atlas(self) -> "Atlas":
        """
        The map as of a moment ago.

        Raises:
            AutoresearchError: there is none; the message says why.
        """
        with self._mapping:
            self._map()
            assert self._told is not None
            found = self._told[2]
        if found is None:
            raise StudyError("the map cannot be made just now; the page says why")
        return found

    def told(self) -> bytes:
        """What visitors are shown, what came of it, and the map, as JSON; as of a moment ago where it takes long to work out."""
        with self._mapping:
            self._map()
            assert self._told is not None
            return self._told[1]

    def _map(self) -> None:
        """Work it out again, where there may be something new and the last time was not a moment ago."""
        mark, begun = (self.mark() or {"map": ""})["map"], time.monotonic()
        if self._told is not None and (self._told[0] == mark or begun < self._next):
            return
        try:
            self._feed.poll()
            atlas, data = self._read()
        except AutoresearchError as error:
            atlas, data = None, {"said": clean(str(error), 500)}
        self._told = mark, msgspec.json.encode({"mark": mark, **data}), atlas
        now = time.monotonic()
        self._next = now + max(EVERY_S, SHARE * (now - begun))

    def _read(self) -> tuple["Atlas", dict[str, Any]]:
        from autoresearch.campaign import atlas as maps
        from autoresearch.campaign import levels
        from autoresearch.live.tallying import day_of, every
        from autoresearch.web import places

        store = self.store()
        found = maps.learnt(self.folder)
        with self._feed.lock:
            variables = levels.ever_approved(self._feed.state, self.variables())
        assert self.study is not None
        assert self.study.live is not None
        counts = store.counts(found.at, None, self.study.live, came=every)
        today = int(counts.shown[[day == day_of(found.at) for day in counts.days]].sum())
        return found, {"channel": self._channel(), **places.told(found, today, store.plan(), variables)}
