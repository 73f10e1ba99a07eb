"""
Asking a program for its events again and again, where it cannot send them.

How far it was read is kept in the store, beside what was read. Every turn begins some time before the latest event that is known
(`overlap_s`), so that what the program tells late is not missed; what is told twice is known by its id. An event that is told later
than that is missed: then import a file.
"""

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from autoresearch.live import settings
from autoresearch.live.mappings import SHAPES, UnitOf, too_early
from autoresearch.live.records import AnyRecord, Fate
from autoresearch.live.store import Store

LARGEST = 8 << 20  # bytes of a page
MOST_PAGES = 50  # in one turn; the next goes on
LIMIT_S = 20.0  # for a page


class PollError(Exception):
    """A source could not be read; what was read before is kept, and the next turn goes on there."""


class Feed(settings.Feed, frozen=True):
    """One that study.toml names, with the secret itself."""

    def __repr__(self) -> str:
        return f"Feed({self.name!r})"


class Cursor(Struct, frozen=True):
    """
    Everything up to `reached` was read, as far as it was there. A round of pages that is not at its end began at `since`, saw events up
    to `ahead`, and goes on at `page`.
    """

    reached: float = 0.0
    since: float = 0.0
    ahead: float = 0.0
    page: str = ""


class Polled(Struct, frozen=True):
    """
    What a turn brought. `wrong`: events that could not be read, the first few of them in words. `done`: nothing is left for now. `refused`: records of
    people who asked to be forgotten.
    """

    new: int
    known: int
    ignored: dict[str, int]
    wrong: tuple[str, ...]
    done: bool
    refused: int = 0


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirect could take the secret elsewhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_OPENER = urllib.request.build_opener(_Stay)
_NEAR = urllib.request.build_opener(_Stay, urllib.request.ProxyHandler({}))  # a proxy is for what is elsewhere


def poll(feed: Feed, store: Store, unit_of: UnitOf, now: float, most_pages: int = MOST_PAGES) -> Polled:
    """
    Read what is new. Each page is on the disk before the next is asked for.

    Raises:
        PollError: the source did not answer as a feed does.
    """
    kept = store.cursor(feed.name)
    cursor = msgspec.json.decode(kept, type=Cursor) if kept else Cursor()
    if not cursor.page:
        cursor = Cursor(cursor.reached, max(0.0, cursor.reached - feed.overlap_s), cursor.reached)
    fates = Counter[Fate]()
    ignored: Counter[str] = Counter()
    wrong: list[str] = []
    for _ in range(most_pages):
        try:
            items, page = _ask(feed, cursor)
        except PollError:
            if cursor.page:  # the mark may be no good any more: the next turn begins the round again
                _keep(store, feed, Cursor(cursor.reached))
            raise
        records = _mapped(feed, items, unit_of, now, ignored, wrong)
        fates.update(store.enter(records))
        # A clock that is ahead must not make us skip what is still to happen.
        ahead = max([cursor.ahead, *(min(record.at, now) for record in records)])
        more = page not in ("", cursor.page)
        cursor = Cursor(cursor.reached, cursor.since, ahead, page) if more else Cursor(ahead)
        _keep(store, feed, cursor)
        if not more:
            break
    store.ignore(feed.name, ignored)
    new, known, refused = fates[Fate.NEW], fates[Fate.KNOWN], fates[Fate.REFUSED]
    return Polled(new, known, dict(ignored), tuple(wrong[:10]), not cursor.page, refused)


def _keep(store: Store, feed: Feed, cursor: Cursor) -> None:
    store.set_cursor(feed.name, msgspec.json.encode(cursor).decode())


def _mapped(
    feed: Feed, items: list[Any], unit_of: UnitOf, now: float, ignored: Counter[str], wrong: list[str]
) -> list[AnyRecord]:
    records: list[AnyRecord] = []
    for item in items:
        if not isinstance(item, dict):
            wrong.append("an event is an object")
            continue
        try:
            mapped = SHAPES[feed.shape](item, feed.name, unit_of)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if why := too_early(mapped.records, now):
            wrong.append(why)  # it comes again once its time has come
            continue
        records += mapped.records
        if mapped.ignored:
            ignored[mapped.ignored] += 1
    return records


def _ask(feed: Feed, cursor: Cursor) -> tuple[list[Any], str]:
    """A page's items, and the mark of the next one; "" where there is none."""
    asked = {feed.since: _since(feed, cursor.since)} | ({feed.page: cursor.page} if cursor.page else {})
    there = urllib.parse.urlsplit(feed.address)
    query = "&".join(filter(None, (there.query, urllib.parse.urlencode(asked))))
    request = urllib.request.Request(there._replace(query=query).geturl(), headers={"Accept": "application/json"})
    if feed.secret:
        bearer = feed.header.lower() == "authorization" and " " not in feed.secret
        request.add_header(feed.header, f"Bearer {feed.secret}" if bearer else feed.secret)
    try:
        with (_NEAR if there.scheme == "http" else _OPENER).open(request, timeout=LIMIT_S) as answer:
            body = answer.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise PollError(f"{feed.name}: it answered {error.code}") from None
    except (OSError, http.client.HTTPException) as error:
        raise PollError(f"{feed.name}: {type(error).__name__}: it does not answer") from None
    if len(body) > LARGEST:
        raise PollError(f"{feed.name}: a page has more than {LARGEST:,} bytes")
    try:
        found = json.loads(body)
        items = found[feed.items] if isinstance(found, dict) else found
        page = found.get(feed.next) if isinstance(found, dict) else None
    except (ValueError, KeyError, RecursionError):
        items, page = None, None
    if not isinstance(items, list):
        raise PollError(f"{feed.name}: its answer has no list {feed.items!r}")
    return items, str(page)[:1000] if items and page else ""


def _since(feed: Feed, at: float) -> str:
    if feed.since_as == "seconds":
        return str(int(at))
    return datetime.fromtimestamp(int(at), UTC).isoformat().replace("+00:00", "Z")
