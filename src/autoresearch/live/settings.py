"""
The table [live] of study.toml: a study whose measurement is real traffic.

An address that begins with $ is the name of a variable, so that secrets need not be in a file that git tracks.
"""

import contextlib
import re
import urllib.parse
from typing import Literal

from msgspec import Struct

from autoresearch.guard import METRIC_NAME, Guard
from autoresearch.guard import read as read_guard

LARGEST_HOLDOUT = 0.5
SHORTEST_SECRET = 16  # characters
_ORIGIN = re.compile(r"https?://[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?", re.IGNORECASE)
_FILE = re.compile(r"(?!.*\.\.)[\w][\w./-]*\.toml", re.ASCII)
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")
_TOOL = re.compile(r"[A-Za-z0-9_-]{1,40}")
_NEAR = ("127.0.0.1", "localhost", "::1")


class Hook(Struct, frozen=True, forbid_unknown_fields=True):
    """
    A tool that calls us at /hooks/`name`. `shape` is how it writes its events, `proof` how it shows who it is: by a stamped signature,
    by one without a time, or by the secret itself.
    """

    name: str
    secret: str
    shape: Literal["generic", "instantly", "smartlead"] = "generic"
    proof: Literal["stamped", "signed", "token"] = "stamped"

    def __post_init__(self) -> None:
        if not _TOOL.fullmatch(self.name):
            raise ValueError(f"name = {self.name[:60]!r} must be made of letters, digits, - and _, at most 40 of them")
        if not self.secret.startswith("$"):
            check_secret(self.secret)


class Feed(Struct, frozen=True, forbid_unknown_fields=True):
    """
    A tool that is asked. It answers GET with {`items`: [...], `next`: "a mark"}; its parameters for the time from which on and for the mark of
    the next page are called `since` and `page`, and its `header` holds the secret.
    """

    name: str
    address: str
    shape: Literal["generic", "instantly", "smartlead"] = "generic"
    header: str = "Authorization"
    secret: str = ""
    since: str = "since"
    since_as: Literal["iso", "seconds"] = "iso"
    page: str = "page"
    items: str = "items"
    next: str = "next"
    overlap_s: float = 3600.0

    def __post_init__(self) -> None:
        try:
            there = urllib.parse.urlsplit(self.address)
        except ValueError:
            there = urllib.parse.urlsplit("")
        near = there.scheme == "http" and there.hostname in _NEAR
        if not (near or (there.scheme == "https" and there.hostname)):
            raise ValueError(
                "address must be a whole one that begins with https://, or its secret can be read on the way"
            )
        if not 0 <= self.overlap_s < float("inf"):
            raise ValueError("overlap_s must be 0 or more")


class Live(Struct, frozen=True, forbid_unknown_fields=True):
    """
    `outcome` is the kind of outcome that the metric is the rate of; one counts if it comes within `window_hours` of the first exposure,
    and an exposure counts when that time is over, or, with `attribution = "hazard"`, as far as outcomes usually have come by then.

    A new plan is made every `every_minutes`. `holdout` of all units see the defaults, so that the lift is measured and not modelled.
    `interactions` are pairs of variables that may help only together; `segments` are what visitors differ by. With `decide = "winner"`
    whole cells are compared, which is A/B/n; `false_winner` is the chance, over all looks, that one is called better that is not.

    `guardrails` bound the rates of other outcomes, like "unsubscribe <= 0.005". `approve = "human"`: nothing is shown in public before a person
    said yes. `store` is a database, as SQLAlchemy writes it; None: a file beside the log. `origins` are the sites, like https://shop.example,
    whose pages may ask this study's server. `prior` is a file that `live map --prior` wrote of an earlier campaign. `hooks` are tools that tell us of events, `feeds` tools that are asked for them.
    """

    outcome: str
    channel: Literal["page", "mail", "ad"] = "page"
    template: str = "page.html"
    window_hours: float = 72.0
    attribution: Literal["window", "hazard"] = "window"
    decide: Literal["factorial", "winner"] = "factorial"
    every_minutes: float = 60.0
    holdout: float = 0.1
    interactions: list[list[str]] = []
    segments: list[Literal["device", "source", "language", "daytime", "list"]] = []
    guardrails: list[str] = []
    false_winner: float = 0.05
    approve: Literal["human", "rules"] = "human"
    store: str | None = None
    origins: list[str] = []
    prior: str | None = None
    hooks: list[Hook] = []
    feeds: list[Feed] = []
    simulated: bool = False

    def __post_init__(self) -> None:
        if not METRIC_NAME.fullmatch(self.outcome):
            raise ValueError(f"outcome {self.outcome!r} must be one word, like click, as events name it")
        for name in ("window_hours", "every_minutes"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number")
        if not 0 < self.holdout <= LARGEST_HOLDOUT:
            raise ValueError(
                f"holdout = {self.holdout:g} must be more than 0 and at most {LARGEST_HOLDOUT:g}: without one the lift is a guess"
            )
        if not 0 < self.false_winner < 0.5:
            raise ValueError("false_winner must lie between 0 and 0.5, like 0.05")
        if any(len(pair) != 2 or pair[0] == pair[1] for pair in self.interactions):
            raise ValueError('interactions must be pairs of different variables, like [["headline", "tone"]]')
        if len({frozenset(pair) for pair in self.interactions}) < len(self.interactions):
            raise ValueError("interactions must name each pair once, in whichever order")
        if len(self.segments) > 2 or len(set(self.segments)) < len(self.segments):
            raise ValueError("segments must name two at most, each once: traffic is divided among their values")
        if self.store is not None and "://" not in self.store and not _VARIABLE.fullmatch(self.store):
            raise ValueError(
                "store must be an address, like postgresql+psycopg://localhost/campaign, or a $VARIABLE that holds one"
            )
        for origin in self.origins:
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"origins: {origin!r} must be a site alone, like https://shop.example, with no path")
        if self.prior is not None and not _FILE.fullmatch(self.prior):
            raise ValueError(f"prior = {self.prior[:80]!r} must be a file in the study's folder, like prior.toml")
        if self.prior is not None and self.decide == "winner":
            raise ValueError(
                'prior says what levels do, and decide = "winner" compares whole cells: take one of them out'
            )
        for name, tools in (("hooks", self.hooks), ("feeds", self.feeds)):
            if len({tool.name for tool in tools}) < len(tools):
                raise ValueError(f"{name} must each have a name of its own")
        _ = self.bounds

    @property
    def counted(self) -> list[object]:
        """What a value depends on: rates under other settings of these are other rates."""
        return [self.outcome, self.channel, self.window_hours, self.attribution]

    @property
    def begins(self) -> str:
        """The command that begins a study of this channel, and goes on with it: only a page needs a server."""
        return "autoresearch live serve" if self.channel == "page" else "autoresearch run"

    @property
    def window_s(self) -> float:
        return self.window_hours * 3600

    @property
    def bounds(self) -> list[Guard]:
        """The guardrails, read."""
        return [_bound(text) for text in self.guardrails]


def check_secret(secret: str) -> None:
    """
    Raises:
        ValueError: it could be guessed.
    """
    if len(secret) < SHORTEST_SECRET:
        raise ValueError(
            f"secret must have {SHORTEST_SECRET} characters or more: python -c 'import secrets; "
            "print(secrets.token_urlsafe(32))' makes one"
        )


def _bound(text: str) -> Guard:
    with contextlib.suppress(ValueError):
        if isinstance(found := read_guard(text), Guard):
            return found
    raise ValueError(f"guardrails: {text[:80]!r} must bound a rate by a number, like 'unsubscribe <= 0.005'")
