"""
What other programs tell, as our records: our own plain shape, Instantly's and Smartlead's.

An event says who by an address or an id. Only its unit is kept, a salted hash, and an id of the event that could give the person
away is hashed too. What kinds of event mean is in the tables below; others mean nothing here, and are counted.

A tool that sends mail says which cell somebody was sent by carrying along the columns that `live export` wrote (`ar_cell`, ...).

Shapes: developer.instantly.ai/guides/webhook-events; api.smartlead.ai/api-reference/webhooks/events and help.smartlead.ai, "Webhook
Guide Updated" (its fields have changed names several times, hence the alternatives).
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from autoresearch.live.checking import checked
from autoresearch.live.records import AnyRecord, Cost, Exposure, Outcome, Suppression
from autoresearch.live.variables import cell_of

SKEW_S = 300.0  # by which another machine's clock may be ahead of ours
LONGEST = 120  # characters of a record's words
# Seconds since 1970, from 2001 to 2096: neither a date that is written 20260301 nor a time in milliseconds is between them.
EARLIEST, LATEST = 1e9, 4e9
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
CELL, SEGMENT, PLAN, CHANCE, HELD = "ar_cell", "ar_segment", "ar_plan", "ar_chance", "ar_held"
HOLDOUT = " (holdout)"  # at the end of a cell, for programs that carry nothing but a name

UnitOf = Callable[[str], str]  # an address or a first-party id -> its unit; see plan.unit
Event = dict[str, Any]

EXPOSED, COSTS, STOPS = "exposure", "cost", "suppression"  # kinds of event of the plain shape that are no outcomes
# Outcomes of the plain shape that are a suppression too, as they are in the tables below; in small letters.
ENDS = frozenset({"unsubscribe", "unsubscribed", "bounce", "bounced", "complaint"})

# Kind of event -> the outcomes that it is. `STOPS` among them: not to be written to any more.
INSTANTLY: dict[str, tuple[str, ...]] = {
    "email_sent": (EXPOSED,),
    "email_opened": ("open",),
    "link_clicked": ("click",),
    "email_link_clicked": ("click",),
    "reply_received": ("reply",),
    "auto_reply_received": ("auto_reply",),
    "lead_interested": ("positive_reply",),
    "lead_meeting_booked": ("positive_reply", "meeting"),
    "lead_not_interested": ("negative_reply",),
    "email_bounced": ("bounce", STOPS),
    "lead_unsubscribed": ("unsubscribe", STOPS),
}
SMARTLEAD: dict[str, tuple[str, ...]] = {
    "EMAIL_SENT": (EXPOSED,),
    "FIRST_EMAIL_SENT": (EXPOSED,),
    "EMAIL_OPEN": ("open",),
    "EMAIL_OPENED": ("open",),
    "EMAIL_LINK_CLICK": ("click",),
    "EMAIL_CLICKED": ("click",),
    "EMAIL_REPLY": ("reply",),
    "EMAIL_REPLIED": ("reply",),
    "EMAIL_BOUNCE": ("bounce", STOPS),
    "EMAIL_BOUNCED": ("bounce", STOPS),
    "LEAD_UNSUBSCRIBED": ("unsubscribe", STOPS),
    "EMAIL_UNSUBSCRIBED": ("unsubscribe", STOPS),
}
# Smartlead's word for a reply, when somebody or its model has read it.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "interested": ("positive_reply",),
    "meeting request": ("positive_reply",),
    "information request": ("positive_reply",),
    "meeting booked": ("positive_reply", "meeting"),
    "booked": ("positive_reply", "meeting"),
    "not interested": ("negative_reply",),
    "do not contact": ("negative_reply", STOPS),
}


class Mapped(Struct, frozen=True):
    """What an event says; `ignored` is its kind where it says nothing that is wanted here."""

    records: tuple[AnyRecord, ...] = ()
    ignored: str = ""


def generic(event: Event, source: str, unit_of: UnitOf) -> Mapped:
    """
    Our own shape: `event`, `person` (or `unit`), `at`, and where they apply `id`, `value`, `cell`, `amount`, `why`. An event that is no
    exposure, cost or suppression is an outcome of the kind that it names, and where that is one of `ENDS`, a suppression too.

    Raises:
        ValueError: it is not of this shape; the message names the key.
    """
    kind = _word(event, "event")
    at = instant(_needed(event, "at"))
    cell = _cell(event)
    unit = "" if kind == COSTS else _unit(event, unit_of)
    amount = _number(event, "amount", "value") if kind == COSTS else None
    value = _number(event, "value") if kind != COSTS else None
    who = unit or cell or ""
    id = _id(event.get("id"), (kind, who, repr(at), repr(value), repr(amount), cell or ""), unit_of)
    if kind == COSTS:
        if cell is None or amount is None:
            raise ValueError("a cost has a cell and an amount")
        if amount < 0:
            raise ValueError(f"amount = {amount:g} is below 0, and a cost is what was spent")
        return Mapped((checked(Cost(source=source, id=id, at=at, cell=cell, amount=amount)),))
    if kind == EXPOSED:
        if cell is None:
            raise ValueError(f"{CELL} is missing: an exposure says which cell was shown")
        return Mapped((_exposure(event, source, id, at, unit, cell),))
    if kind == STOPS:
        why = str(event.get("why") or "")[:200]
        return Mapped((checked(Suppression(source=source, id=id, at=at, unit=unit, why=why)),))
    outcome = checked(Outcome(source=source, id=id, at=at, unit=unit, kind=kind, value=1.0 if value is None else value))
    if kind.lower() not in ENDS:
        return Mapped((outcome,))
    stop = Suppression(source=source, id=_digest(id, STOPS), at=at, unit=unit, why=kind)
    return Mapped((outcome, checked(stop)))


def instantly(event: Event, source: str, unit_of: UnitOf) -> Mapped:
    """
    Instantly's webhooks and items. They have no id: an event is known by its kind, its time, its person, campaign, step and mail.

    Raises:
        ValueError: as `generic`.
    """
    kind = _word(event, "event_type")
    if kind not in INSTANTLY:
        return Mapped(ignored=kind)
    unit = unit_of(_person(event, "lead_email", "email"))
    at = instant(_needed(event, "timestamp"))
    told = ("campaign_id", "step", "variant", "email_id")
    id = _digest(kind, unit, repr(at), *(str(event.get(key, "")) for key in told))
    return _records(event, INSTANTLY[kind], kind, source, id, at, unit)


def smartlead(event: Event, source: str, unit_of: UnitOf) -> Mapped:
    """
    Smartlead's webhooks. A retry carries the same event, so its content is its id.

    Raises:
        ValueError: as `generic`.
    """
    kind = _word(event, "event_type", "event")
    outcomes = SMARTLEAD.get(kind)
    lead = _inside(event, "lead_data") or _inside(event, "lead")
    if kind == "LEAD_CATEGORY_UPDATED":
        category = str(_inside(event, "lead_category").get("new_name") or event.get("category") or "")
        outcomes = CATEGORIES.get(category.strip().lower())
        kind = f"{kind} {category.strip()[:60]}".strip()
    if outcomes is None:
        return Mapped(ignored=kind)
    # to_email may be an alias that answered; the address that was written to comes first.
    mailed = event | {"lead.email": lead.get("email")}
    unit = unit_of(_person(mailed, "sl_lead_email", "lead.email", "lead_email", "to_email"))
    times = ("event_timestamp", "timestamp", "time_sent", "time_opened", "time_clicked", "time_replied", "created_at")
    at = instant(next((event[key] for key in times if event.get(key)), None))
    told = ("campaign_id", "sequence_number", "stats_id")
    id = _digest(kind, unit, repr(at), *(str(event.get(key, "")) for key in told))
    return _records(_inside(lead, "custom_fields") | event, outcomes, kind, source, id, at, unit)


SHAPES: dict[str, Callable[[Event, str, UnitOf], Mapped]] = {
    "generic": generic,
    "instantly": instantly,
    "smartlead": smartlead,
}


def instant(value: object) -> float:
    """
    Seconds since 1970, from them or from a date and time like 2026-03-01T09:30:00Z; without a zone it is UTC.

    Raises:
        ValueError: it is neither.
    """
    told = value.strip() if isinstance(value, str) else value
    try:
        if isinstance(told, str) and not _SECONDS.fullmatch(told):
            read = datetime.fromisoformat(told)
            at = (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
        else:
            at = float(told) if isinstance(told, str | int | float) and not isinstance(told, bool) else math.nan
    except (ValueError, OverflowError):
        at = math.nan
    if not EARLIEST <= at <= LATEST:
        raise ValueError(
            f"at = {_told(value)} is no time; write it like 2026-03-01T09:30:00Z, or in seconds since 1970"
        )
    return at


def too_early(records: Iterable[AnyRecord], now: float) -> str:
    """Why these cannot have happened yet; "" where they can."""
    late = max((record.at - now for record in records), default=0.0)
    away = f"{late:.0f} s" if late < 7200 else f"{late / 3600:,.0f} hours"
    return f"it happens {away} from now: is the clock of its source right?" if late > SKEW_S else ""


def _records(
    carried: Event, outcomes: tuple[str, ...], kind: str, source: str, id: str, at: float, unit: str
) -> Mapped:
    records: list[AnyRecord] = []
    for outcome in outcomes:
        its = f"{id}-{outcome}"
        if outcome == EXPOSED:
            cell = _cell(carried)
            if cell is None:
                return Mapped(ignored=f"{kind} without {CELL}")
            records.append(_exposure(carried, source, its, at, unit, cell))
        elif outcome == STOPS:
            records.append(checked(Suppression(source=source, id=its, at=at, unit=unit, why=kind)))
        else:
            records.append(checked(Outcome(source=source, id=its, at=at, unit=unit, kind=outcome)))
    return Mapped(tuple(records))


def _exposure(event: Event, source: str, id: str, at: float, unit: str, cell: str) -> Exposure:
    plan, chance = _number(event, PLAN, "plan"), _number(event, CHANCE, "chance")
    held = event.get(HELD, event.get("held", str(event.get(CELL) or event.get("cell")).endswith(HOLDOUT)))
    return checked(
        Exposure(
            source=source,
            id=id,
            at=at,
            unit=unit,
            cell=cell,
            segment=str(event.get(SEGMENT, event.get("segment")) or ""),
            plan=int(plan or 0),
            chance=1.0 if chance is None else chance,
            held=str(held).strip().lower() in ("true", "1", "yes"),
        )
    )


def _inside(event: Event, key: str) -> Event:
    found = event.get(key)
    return found if isinstance(found, dict) else {}


def _told(value: object) -> str:
    """How an error names a value: no address, since errors are shown and kept."""
    text = str(value)
    return "an address" if "@" in text else repr(text[:40])


def _needed(event: Event, key: str) -> object:
    if event.get(key) in (None, ""):
        raise ValueError(f"{key} is missing")
    return event[key]


def _text(value: object, key: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"{key} is missing: say what happened, like click")
    if not isinstance(value, str):
        raise ValueError(f"{key} must be words, not {_told(value)}")  # noqa: TRY004 - what is told is wrong, not who calls
    if len(value) > LONGEST:
        raise ValueError(f"{key} has {len(value)} characters, and {LONGEST} is the most")
    return value.strip()


def _word(event: Event, *keys: str) -> str:
    """What kind of event it is."""
    return _text(next((event[key] for key in keys if event.get(key)), None), keys[0])


def _person(event: Event, *keys: str) -> str:
    """An address or an id of whoever it is about. What it reads like is never told: errors are shown and kept."""
    found = next((event[key] for key in keys if event.get(key)), None)
    if not isinstance(found, str) or not found.strip() or len(found) > 320:
        raise ValueError(f"{keys[0]} is missing or is no address")
    return found


def _unit(event: Event, unit_of: UnitOf) -> str:
    known = event.get("unit")
    return known if isinstance(known, str) and known else unit_of(_person(event, "person", "email"))


def _cell(event: Event) -> str | None:
    """The cell that was shown, as `variables.key` writes it."""
    cell = event.get(CELL) or event.get("cell")
    if cell is None or cell == "":
        return None
    try:
        cell = cell.removesuffix(HOLDOUT) if isinstance(cell, str) else ""
        cell_of(cell)
    except ValueError:
        raise ValueError(
            f"{CELL} = {_told(cell)} is no cell, like cta=trial;headline=bold, in small letters and without spaces"
        ) from None
    return str(cell)


def _number(event: Event, *keys: str) -> float | None:
    for key in keys:
        value = event.get(key)
        if value is None or value == "":
            continue
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{key} = {_told(value)} is no number; write it like 1240.50")
        return number
    return None


def _id(given: object, content: tuple[str, ...], unit_of: UnitOf) -> str:
    """A source's own id; where it has none, or one that may name a person or is too long, one that follows from what it says."""
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if given is None or given == "":
        return _digest(*content)
    if not isinstance(given, str):
        raise ValueError("id must be words")  # noqa: TRY004 - what is told is wrong, not who calls
    return unit_of(given) if "@" in given or len(given) > LONGEST else given


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "replace")).hexdigest()[:32]
