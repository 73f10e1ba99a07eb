"""
Who asks, as far as their request says: whether anything may be recorded of them, and what visitors differ by.

Pure functions of a request's headers. What they return has few values, whatever was sent: what is told apart is told apart in the
store for ever, and traffic is divided among it.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Literal, get_args
from urllib.parse import urlsplit

Device = Literal["desktop", "phone", "tablet"]
Source = Literal["advertisement", "direct", "mail", "other", "search", "social"]
Daytime = Literal["night", "morning", "afternoon", "evening"]  # quarters of the day, UTC
Language = Literal[
    "ar", "bn", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no", "pl", "pt", "ro",
    "ru", "sv", "th", "tr", "uk", "vi", "zh", "other",
]  # fmt: skip
Quiet = Literal["", "private", "crawler", "prefetch"]

COOKIE = "ar_id"
COOKIE_DAYS = 180
_ID = re.compile(r"[0-9a-f]{32}")
# What crawlers, previews and monitors call themselves.
_CRAWLER = re.compile(
    r"bot\b|bot[/_-]|crawl|spider|slurp|headless|lighthouse|preview|monitor|pingdom|uptime|facebookexternalhit|whatsapp|embedly|"
    r"mediapartners|scrapy|phantomjs|archiver|validator|fetcher|checker",
    re.IGNORECASE,
)
# What programs call themselves: no reader of a page, but perhaps a server that asks on behalf of one.
_PROGRAM = re.compile(r"python|curl/|wget/|okhttp|go-http-client|java/|libwww|axios|undici|^node", re.IGNORECASE)
_TABLET = re.compile(r"ipad|tablet|kindle|silk/|android(?!.*mobile)", re.IGNORECASE)
_PHONE = re.compile(r"mobi|iphone|ipod|android", re.IGNORECASE)
_SEARCH = re.compile(r"(^|\.)(google|bing|duckduckgo|yahoo|ecosia|qwant|baidu|yandex|startpage|kagi|brave)\.[a-z.]+$")
_SOCIAL = re.compile(
    r"(^|\.)(facebook|instagram|linkedin|twitter|reddit|youtube|tiktok|pinterest|threads|bsky|mastodon|ycombinator)\.[a-z.]+$|"
    r"^(t\.co|x\.com|lnkd\.in)$"
)
_MEDIA: tuple[tuple[str, Source], ...] = (
    (r"cpc|ppc|paid|\bads?\b|display|banner|advert", "advertisement"),
    (r"mail|newsletter", "mail"),
    (r"social|facebook|instagram|linkedin|twitter|reddit|tiktok", "social"),
    (r"organic|search|google|bing", "search"),
)


def quiet(method: str, headers: Mapping[str, str]) -> Quiet:
    """
    Why nothing is recorded of this request and nobody is recognised by it; "" where there is no reason. `private`: Do Not Track or
    Global Privacy Control. `crawler`: by the name it gives itself, or by giving none. `prefetch`: perhaps nobody will look.

    A POST that no page sent comes from a server of the person's own, so that a program's name, or none, is nothing against it.
    """
    if headers.get("dnt", "").strip() == "1" or headers.get("sec-gpc", "").strip() == "1":
        return "private"
    purpose = headers.get("sec-purpose", headers.get("purpose", "")).lower()
    if "prefetch" in purpose and "prerender" not in purpose:
        return "prefetch"
    agent = headers.get("user-agent", "")
    if method == "HEAD" or _CRAWLER.search(agent):
        return "crawler"
    asks_for_another = method == "POST" and "origin" not in headers
    return "crawler" if not asks_for_another and (not agent or _PROGRAM.search(agent)) else ""


def known(cookies: Mapping[str, str]) -> str | None:
    """The id that a cookie of ours holds."""
    found = cookies.get(COOKIE, "")
    return found if _ID.fullmatch(found) else None


def new_id() -> str:
    return secrets.token_hex(16)


def device(agent: str) -> Device:
    return "tablet" if _TABLET.search(agent) else "phone" if _PHONE.search(agent) else "desktop"


def language(accepted: str) -> Language:
    """The first language that a browser asks for."""
    first = accepted.partition(",")[0].partition(";")[0].partition("-")[0].strip().lower()
    return next((known for known in get_args(Language) if known == first), "other")


def source(medium: str, referrer: str, own: str = "") -> Source:
    """Where a visitor comes from: what the link says of itself (utm_medium, utm_source), else the site that it was on."""
    for pattern, word in _MEDIA if medium else ():
        if re.search(pattern, medium.lower()):
            return word
    try:
        host = (urlsplit(referrer).hostname if "//" in referrer else referrer.partition(":")[0].lower()) or ""
    except ValueError:
        host = ""
    if medium:
        return "other"
    if not host or host == own.lower():
        return "direct"
    return "search" if _SEARCH.search(host) else "social" if _SOCIAL.search(host) else "other"


def daytime(at: float) -> Daytime:
    quarters: tuple[Daytime, ...] = get_args(Daytime)
    return quarters[int(at % 86400 // 21600)]


def segment(names: Sequence[str], facts: Mapping[str, str]) -> str:
    """What this visitor is treated as: `device=phone;source=search`, of the facts that the study names; "" where it names none."""
    return ";".join(f"{name}={facts.get(name) or 'unknown'}" for name in sorted(names))
