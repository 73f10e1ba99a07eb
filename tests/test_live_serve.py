"""The server of a live study: who is shown what, what is recorded of whom, and what is refused."""

import http.client
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="the extra `live` is not installed")
pytest.importorskip("uvicorn", reason="the extra `live` is not installed")
pytest.importorskip("jinja2", reason="the extra `live` is not installed")

from helpers import eventually
from live_study import BROWSER, SALT, Answer, ask, plan, post, records, running, words

from autoresearch.errors import StudyError
from autoresearch.live import limits, proof, render, visitors
from autoresearch.live.brand import Brand
from autoresearch.live.door import Settings
from autoresearch.live.plan import assign, unit
from autoresearch.live.records import AnyRecord, Exposure, Fate, Outcome, Suppression
from autoresearch.live.serve import SCRIPT
from autoresearch.live.settings import Live
from autoresearch.live.variables import Variables, key
from autoresearch.live.waiting import Job, settle

SHOP = "http://shop.example"
PERSON = "0123456789abcdef" * 2


def proof_of(page: Answer) -> str:
    found = re.search(r'data-proof="([^"]*)"', page.body.decode())
    assert found
    return found[1]


class Refusal(msgspec.Struct, frozen=True):
    status: int
    why: str


class Delivery(msgspec.Struct, frozen=True):
    records: tuple[AnyRecord, ...]
    ignored: dict[str, int] = {}


def hook(body: bytes, headers: Mapping[str, str], now: float, token: str) -> Delivery | Refusal:
    if "right" not in (headers.get("x-signature"), token):
        return Refusal(401, "the signature is wrong")
    return Delivery(
        (Suppression(source="tool", id=body.decode(), at=now, unit=unit(SALT, body.decode())),), {"opened": 1}
    )


def told(body: bytes, _headers: Mapping[str, str], now: float, _token: str) -> Delivery:
    person = unit(SALT, body.decode())
    return Delivery((Outcome(source="told", id=body.decode(), at=now, unit=person, kind="reply"),))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("live")
    (folder / "static").mkdir()
    (folder / "static" / "a.png").write_bytes(b"picture")
    (folder / "study.toml").write_text("secret = 1")
    with running(folder, hooks={"tool": hook, "told": told}) as found:
        yield found


# -- the page --------------------------------------------------------------------------------------------


def test_a_page_counts_once_its_script_says_so_under_an_id_that_was_kept(tmp_path: Path) -> None:
    with running(tmp_path) as (study, served):
        page = ask(served)
        assert page.status == 200
        assert records(study) == [], "who only fetches the page is not counted"
        word = proof_of(page)
        assert post(served, "/seen", {"proof": word}).json == {"recorded": False}, "no cookie was kept"
        assert post(served, "/seen", {"proof": word}, cookie="ar_id=" + PERSON).status == 403, "another's proof"
        assert post(served, "/seen", {"proof": "A" + word[1:]}, cookie=page.cookie).status == 403, "a changed one"
        for _ in range(2):
            assert post(served, "/seen", {"proof": word}, cookie=page.cookie).json == {"recorded": True}
        mine = study.unit(page.cookie.partition("=")[2])
        expected = assign(plan(study.variables), "s", mine, "device=desktop")
        [one] = study.exposures
        assert (one.unit, one.cell, one.chance, one.held) == (mine, expected.cell, expected.chance, expected.held)
        assert one.segment == "device=desktop"
        for _ in range(2):
            assert post(served, "/event", {"kind": "click"}, cookie=page.cookie).json == {"recorded": True}
        assert [(one.unit, one.kind) for one in study.outcomes] == [(mine, "click")]

        again = ask(served, cookie=page.cookie)
        assert again.cookie == ""
        assert proof_of(again) == "", "there is nothing more to record"
        study.now += 7 * 3600
        late = ask(served)
        study.now += 7 * 3600
        assert post(served, "/seen", {"proof": proof_of(late)}, cookie=late.cookie).status == 403, "open for too long"
        whole = (tmp_path / "live.db").read_bytes() + b"".join(path.read_bytes() for path in tmp_path.glob("live.db-*"))
        assert page.cookie.partition("=")[2].encode() not in whole, "the store knows no id"


def test_a_cell_stays_under_new_plans_and_the_default_stands_in_for_what_is_gone(tmp_path: Path) -> None:
    with running(tmp_path, planned=lambda known: plan(known, headline="relief", holdout=0.0)) as (study, served):
        first = post(served, "/decide", {"id": "anna"}).json
        assert "headline=relief" in first["cell"]
        study.store.add_plan(plan(study.variables, 2, headline="question", holdout=0.0))
        assert eventually(lambda: ask(served, "/health").json["plan"] == 2, 30)
        assert post(served, "/decide", {"id": "ANNA "[:4]}).json["cell"] == first["cell"]
        assert "headline=question" in post(served, "/decide", {"id": "bert"}).json["cell"]
        levels = dict(study.variables.variables["headline"].levels)
        del levels["relief"]
        changed = msgspec.structs.replace(study.variables.variables["headline"], levels=levels)
        study.variables = Variables(study.variables.variables | {"headline": changed}, study.variables.forbid)
        gone = key(study.variables.default)
        assert eventually(lambda: post(served, "/decide", {"id": "anna"}).json["cell"] == gone, 30)
        assert len(study.exposures) == 2


def test_the_script_stands_at_the_end_of_the_body_or_of_the_page(tmp_path: Path) -> None:
    words = "{{ headline }}{{ action }}{{ reason }}{{ price }}{{ layout }}"
    wide = "\N{LATIN CAPITAL LETTER I WITH DOT ABOVE}" * 9  # grows when it is put into lower case
    with running(tmp_path / "a", page=f"<body>{wide}{words}</body>") as (_, served):
        assert re.search(r"<script [^>]*></script>\n</body>\Z", ask(served).body.decode())
    with running(tmp_path / "b", page=words) as (_, served):
        assert re.search(r"<script [^>]*></script>\n\Z", ask(served).body.decode())


def test_a_cell_that_the_rules_forbid_is_not_shown_whatever_the_plan_says(tmp_path: Path) -> None:
    with running(tmp_path, planned=lambda known: plan(known, headline="relief", holdout=0.0)) as (study, served):
        assert "headline=relief" in post(served, "/decide", {"id": "anna"}).json["cell"]
        claims = ("14-day trial", "€9 a month for each bench")
        study.rules = Brand(
            banned=("over the lathe start your trial",), claims=claims
        )  # in no level, but in some whole
        study.template = render.Template("{{ headline }} {{ action }} {{ reason }} {{ price }} {{ layout }}")
        people = iter(range(200))
        assert eventually(
            lambda: (
                post(served, "/decide", {"id": f"v{next(people)}"}).status == 200
                and ask(served, "/health").json["said"].endswith("which is banned (brand.toml)")
            ),
            30,
        )
        shown = [post(served, "/decide", {"id": f"w{n}"}).json["cell"] for n in range(30)]
        assert not [cell for cell in shown if "action=try" in cell and "headline=relief" in cell]
        assert any("headline=relief" in cell for cell in shown)
        assert all("headline=plain" not in one.cell for one in study.exposures), (
            "who saw the default instead does not count"
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"dnt": "1"},
        {"sec_gpc": "1"},
        {"user_agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
        {"user_agent": BROWSER.replace("Chrome", "HeadlessChrome")},
        {"sec_purpose": "prefetch"},
        {"user_agent": ""},
        {"user_agent": "curl/8.1"},
    ],
)
def test_quiet_visitors_get_the_default_no_cookie_and_no_record(served: Any, headers: dict[str, Any]) -> None:
    study, server = served
    before = len(records(study))
    page = ask(server, cookie=f"ar_id={PERSON}", **headers)
    assert study.variables.variables["headline"].levels["plain"] in page.body.decode()
    assert "set-cookie" not in page.headers
    assert b"<script" not in page.body
    headers = {"origin": f"http://127.0.0.1:{server.port}", "cookie": f"ar_id={PERSON}"} | headers
    given = post(server, "/decide", {"id": PERSON}, **headers).json
    assert (given["id"], given["cell"], given["recorded"]) == (None, key(study.variables.default), False)
    assert post(server, "/event", {"kind": "click", "id": PERSON}, **headers).json == {"recorded": False}
    assert len(records(study)) == before


def test_a_head_request_is_nobody_and_an_own_server_may_ask_for_another(served: Any) -> None:
    study, server = served
    assert "set-cookie" not in ask(server, method="HEAD").headers
    before = len(study.exposures)
    assert post(server, "/decide", {"id": "by-a-server"}, user_agent="python-requests/3").json["recorded"]
    assert len(study.exposures) == before + 1


def test_a_page_is_closed_to_all_that_is_not_its_own(served: Any) -> None:
    _, server = served
    pages = [ask(server), ask(server)]
    policies = [page.headers["content-security-policy"] for page in pages]
    for page, policy in zip(pages, policies, strict=True):
        nonce = re.search(r"script-src 'nonce-([^']+)'", policy)
        assert nonce
        assert f'<script nonce="{nonce[1]}" src="script.js"'.encode() in page.body
        assert f'<style nonce="{nonce[1]}"'.encode() in page.body
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    assert policies[0] != policies[1]
    for path in ("/", "/health", "/script.js", "/static/a.png", "/nothing"):
        headers = ask(server, path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "content-security-policy" in headers
    cookie = ask(server).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie


def test_before_there_is_a_plan_everybody_sees_the_default_and_nobody_counts(tmp_path: Path) -> None:
    with running(tmp_path, planned=None) as (study, served):
        page = ask(served)
        assert page.cookie == ""
        assert b"<script" not in page.body
        assert post(served, "/decide", {"id": "anna"}).json["recorded"] is False
        assert "no plan yet" in ask(served, "/health").json["said"]
        assert records(study) == []


def test_when_the_store_fails_the_page_stands_and_nothing_is_acknowledged(tmp_path: Path) -> None:
    with running(tmp_path) as (study, served):
        page = ask(served)
        study.between.broken = True
        again = ask(served, cookie=page.cookie)
        assert again.status == 200
        assert b"<script" not in again.body
        answer = post(served, "/decide", {"id": "anna"})
        assert (answer.status, "store" in answer.json["said"]) == (503, True)
        assert post(served, "/event", {"kind": "click", "id": "anna"}).status == 503
        health = ask(served, "/health")
        assert (health.status, health.json["ok"]) == (503, False)
        assert re.search(r"store_failures_total [1-9]", ask(served, "/metrics").body.decode())


# -- what is said over HTTP ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/decide", {"id": "a b"}, 400),
        ("/decide", {"id": ""}, 400),
        ("/decide", {"id": "x" * 129}, 400),
        ("/decide", {"device": "toaster"}, 400),
        ("/decide", {"id": 7}, 400),
        ("/decide", {"idd": "a"}, 400),
        ("/decide", [], 400),
        ("/event", {"kind": "purchase", "id": "a"}, 400),
        ("/event", {"id": "a"}, 400),
        ("/event", {"kind": "click", "id": "a", "value": 1e12}, 400),
        ("/seen", {"proof": "none", "id": "a"}, 400),
        ("/seen", {"proof": "A" * 40 + "." + "B" * 22, "id": "a"}, 403),
    ],
)
def test_what_is_not_as_described_is_refused_in_plain_words(served: Any, path: str, body: object, status: int) -> None:
    study, server = served
    before = len(records(study))
    answer = post(server, path, body)
    assert answer.status == status
    assert 5 < len(answer.json["said"]) <= 500
    assert len(records(study)) == before


@pytest.mark.parametrize(
    ("raw", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b'{"id": "\xff"}', "application/json", 400),
        (b'{"id": "\\ud800"}', "application/json", 400),
        (b'{"value": NaN, "kind": "click"}', "application/json", 400),
        (b"[" * 5000, "application/json", 400),
        (b'{"id": "a"}', "text/plain", 415),
        (b'{"id": "' + b"a" * 9000 + b'"}', "application/json", 413),
    ],
)
def test_what_is_no_json_or_too_much_of_it_is_refused(served: Any, raw: bytes, kind: str, status: int) -> None:
    assert ask(served[1], "/event", "POST", raw=raw, content_type=kind).status == status


def test_a_long_body_without_a_length_is_cut_off(served: Any) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served[1].port, timeout=60)
    pieces = (b"x" * 4096 for _ in range(1000))
    try:
        connection.request("POST", "/event", pieces, {"content-type": "application/json"}, encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused while it was still being sent
    finally:
        connection.close()


def test_pages_elsewhere_are_answered_where_the_study_lists_them(served: Any) -> None:
    study, server = served
    asks: dict[str, Any] = {"access_control_request_method": "POST", "access_control_request_headers": "content-type"}
    may = ask(server, "/decide", "OPTIONS", origin=SHOP, **asks)
    assert may.status == 204
    assert may.headers["access-control-allow-origin"] == SHOP
    assert "access-control-allow-credentials" not in may.headers
    before = len(study.exposures)
    for origin in ("http://evil.example", "null", f"{SHOP}.evil.example", "https://shop.example"):
        assert ask(server, "/decide", "OPTIONS", origin=origin, **asks).status == 403
        refused = post(server, "/decide", {"id": "x"}, origin=origin)
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers
    assert len(study.exposures) == before
    given = post(server, "/decide", {"record": False}, origin=SHOP)
    assert given.headers["access-control-allow-origin"] == SHOP
    assert given.json["recorded"] is False
    seen = post(server, "/seen", {"id": given.json["id"], "proof": given.json["proof"]}, origin=SHOP)
    assert seen.json == {"recorded": True}
    assert len(study.exposures) == before + 1
    assert post(server, "/decide", {"record": False, "id": given.json["id"]}).json["proof"] is None
    assert len(SCRIPT) < 3000
    assert ask(server, "/script.js").body == SCRIPT


def test_a_webhook_is_read_by_its_own_reader_and_acknowledged_when_it_is_stored(served: Any) -> None:
    study, server = served
    assert ask(server, "/hooks/tool", "POST", raw=b"a@example.org").status == 401
    assert ask(server, "/hooks/other", "POST", raw=b"").status == 404
    assert ask(server, "/hooks/tool", "POST", raw=b"x", content_length=str((1 << 20) + 1)).status == 413
    done = ask(server, "/hooks/tool", "POST", raw=b"a@example.org", x_signature="right")
    assert (done.status, done.json) == (200, {"records": 1})
    assert ask(server, "/hooks/tool/right", "POST", raw=b"b@example.org").status == 200
    assert ask(server, "/hooks/tool/wrong", "POST", raw=b"b@example.org").status == 401
    units = [study.unit(f"{letter}@example.org") for letter in "ABC"]
    assert study.store.suppressed(units) == set(units[:2])
    assert study.store.ignored() == {("tool", "opened"): 2}


def test_of_who_was_forgotten_nothing_is_said_to_be_recorded(served: Any) -> None:
    study, server = served
    offered = post(server, "/decide", {"record": False}).json
    for person in ("gone", offered["id"]):
        study.store.forget(study.unit(person))
    before = len(records(study))
    for path, body in (
        ("/decide", {"id": "gone"}),
        ("/event", {"id": "gone", "kind": "click"}),
        ("/seen", {"id": offered["id"], "proof": offered["proof"]}),
    ):
        assert post(server, path, body).json["recorded"] is False, path
    assert len(records(study)) == before


def test_an_outcome_is_counted_when_it_is_stored_whoever_tells_it(served: Any) -> None:
    study, server = served

    def counted() -> dict[str, int]:
        text = ask(server, "/metrics").body.decode()
        return {kind: int(n) for kind, n in re.findall(r'_outcomes_total\{kind="(.*)"\} (\d+)', text)}

    before = counted()
    for _ in range(3):
        assert post(server, "/event", {"id": "thrice", "kind": "click"}).json["recorded"] is True
        assert ask(server, "/hooks/told", "POST", raw=b"c@example.org", x_signature="right").status == 200
    assert counted().get("click", 0) - before.get("click", 0) == 1
    assert counted().get("reply", 0) - before.get("reply", 0) == 1
    assert sum(counted().values()) == len(study.outcomes)


def test_only_this_machine_reads_the_numbers_and_what_is_wrong(served: Any) -> None:
    _, server = served
    post(server, "/decide", {"id": "counted"})
    text = ask(server, "/metrics").body.decode()
    assert re.search(r"^autoresearch_live_exposures_total [1-9]", text, re.MULTILINE)
    assert re.search(r'latency_seconds_bucket\{route="decide",le="\+Inf"\} [1-9]', text)
    for line in text.splitlines():
        assert re.fullmatch(r'# (HELP|TYPE) \w+ .+|\w+(\{(\w+="[^"]*",?)+\})? \S+', line)
    through_a_proxy: dict[str, Any] = {"x_forwarded_for": "203.0.113.9"}
    assert ask(server, "/metrics", **through_a_proxy).status == 403
    assert ask(server, "/health", **through_a_proxy).json["said"] == ""
    assert ask(server, "/metrics", host="evil.example").status == 421


def test_each_address_gets_so_many_answers_and_a_listed_proxy_may_say_whose_they_are(tmp_path: Path) -> None:
    rates: dict[str, Any] = {"each_second": 0.001, "burst": 3, "proxies": ("127.0.0.1",), "names": ("shop.example",)}
    with running(tmp_path, **rates) as (_, served):
        for address in ("203.0.113.1", "203.0.113.2"):
            told = [
                ask(served, "/decide", "POST", {"id": "a"}, x_forwarded_for=f"10.9.9.9, {address}").status
                for _ in range(5)
            ]
            assert told == [200, 200, 200, 429, 429]
        page = ask(served, host="shop.example", x_forwarded_for="203.0.113.3", x_forwarded_proto="https")
        assert "Secure" in page.headers["set-cookie"]


def test_what_is_described_is_what_is_there(served: Any) -> None:
    _, server = served
    described = ask(server, "/openapi.json").json
    for path, methods in described["paths"].items():
        for method in ("GET", "POST"):
            concrete = path.replace("{path}", "a.png").replace("{source}", "tool").replace("{token}", "wrong")
            status = ask(
                server, concrete, method, raw=b"{}" if method == "POST" else None, content_type="application/json"
            ).status
            assert (method.lower() in methods) == (status != 405), (method, path)
            if method.lower() in methods:
                assert str(status) in methods[method.lower()]["responses"], (method, path, status)
    assert described["components"]["schemas"]["Happened"]["properties"]["kind"]["enum"] == ["click"]
    assert described["components"]["schemas"]["Asked"]["additionalProperties"] is False


# -- files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../study.toml", "%2e%2e/study.toml", "/etc/passwd", ".hidden.png", "a.png/", "a.toml"]
)
def test_a_picture_is_served_and_nothing_else(served: Any, name: str) -> None:
    """What counts as one: test_live_own.py."""
    _, server = served
    assert ask(server, "/static/a.png").body == b"picture"
    assert ask(server, f"/static/{name}").status == 404


# -- pure parts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "found"),
    [
        ("1.1.1.1", "", (), ("1.1.1.1", True)),
        ("1.1.1.1", "2.2.2.2", (), ("1.1.1.1", False)),
        ("127.0.0.1", "2.2.2.2", ("127.0.0.1",), ("2.2.2.2", True)),
        ("127.0.0.1", "6.6.6.6, 2.2.2.2", ("127.0.0.1",), ("2.2.2.2", True)),
        ("127.0.0.1", "6.6.6.6, 2.2.2.2, 10.0.0.5", ("127.0.0.1", "10.0.0.0/8"), ("2.2.2.2", True)),
        ("127.0.0.1", "2.2.2.2, nonsense", ("127.0.0.1",), ("127.0.0.1", False)),
        ("127.0.0.1", "", ("127.0.0.1",), ("127.0.0.1", True)),
    ],
)
def test_an_address_is_believed_as_far_as_listed_proxies_wrote_it(
    peer: str, forwarded: str, proxies: tuple[str, ...], found: tuple[str, bool]
) -> None:
    assert limits.client(peer, {"x-forwarded-for": forwarded}, limits.networks(proxies)) == found


def test_an_ipv6_household_is_one_address_and_the_table_of_addresses_is_bounded() -> None:
    rates = limits.Rates(1.0, 2, lambda: 0.0)
    assert [rates.allow(f"2001:db8:1:2::{n}") for n in range(3)] == [True, True, False]
    assert rates.allow("2001:db8:1:3::1")
    for n in range(limits.MOST_ADDRESSES + 10):
        rates.allow(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}")
    assert len(rates._left) == limits.MOST_ADDRESSES
    with pytest.raises(StudyError, match="neither an address nor a network"):
        Settings(proxies=("nginx",))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_whatever_a_visitor_sends_there_are_few_segments(agent: str, language: str, medium: str, referrer: str) -> None:
    facts = {
        "device": visitors.device(agent),
        "language": visitors.language(language),
        "source": visitors.source(medium, referrer),
    }
    for name, kind in (("device", visitors.Device), ("language", visitors.Language), ("source", visitors.Source)):
        assert facts[name] in kind.__args__  # type: ignore[attr-defined]
    assert len(visitors.segment(["device", "source"], facts)) <= 80


@pytest.mark.parametrize(
    ("medium", "referrer", "found"),
    [
        ("", "", "direct"),
        ("", "https://www.google.co.uk/", "search"),
        ("", "https://lp.example/other", "direct"),
        ("", "https://news.ycombinator.com/item", "social"),
        ("", "https://notgoogle.example/", "other"),
        ("cpc google", "https://www.google.com/", "advertisement"),
        ("email", "", "mail"),
        ("Newsletter", "", "mail"),
        ("partner", "https://www.google.com/", "other"),
        ("", "https://[bad", "direct"),
    ],
)
def test_where_a_visitor_comes_from(medium: str, referrer: str, found: str) -> None:
    assert visitors.source(medium, referrer, "lp.example") == found


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=100), st.text("0123456789abcdef", min_size=32, max_size=32))
def test_no_word_but_our_own_is_a_proof(word: str, who: str) -> None:
    assert proof.exposure(SALT, who, word, 0.0) is None
    made = proof.of(SALT, proof.shown(who, "a=b", "s", 3, 0.5, False, 7.0))
    assert proof.exposure(SALT, who, made, 8.0) == proof.shown(who, "a=b", "s", 3, 0.5, False, 8.0)
    assert proof.exposure(b"other", who, made, 8.0) is None


def test_requests_that_wait_together_see_each_other_and_none_spoils_it_for_the_rest() -> None:
    told: list[list[AnyRecord]] = []

    class Store:
        def firsts(self, units: Sequence[str]) -> dict[str, Exposure]:
            return {}

        def enter(self, records: Sequence[AnyRecord]) -> list[Fate]:
            if any(record.id == "bad" for record in records):
                raise ValueError("it cannot be kept")
            told.append(list(records))
            return [Fate.NEW] * len(records)

    cells = [key(cell) for cell in words().cells()][:2]
    who = unit(SALT, "a")
    jobs = [
        Job(who, lambda first, cell=cell: [] if first else [proof.shown(who, cell, "", 1, 1.0, False, 1.0)])  # type: ignore[misc]
        for cell in cells
    ]
    outcomes = [Outcome(source="s", id=word, at=1.0, unit=who, kind="click") for word in ("1", "bad")]
    jobs += [Job(None, lambda first, one=one: [one]) for one in outcomes]  # type: ignore[misc]
    settle(Store(), jobs[:3])  # type: ignore[arg-type]
    assert [job.first.cell for job in jobs[:2] if job.first] == [cells[0]] * 2
    assert [len(batch) for batch in told] == [2], "one write, with one exposure and one outcome"
    settle(Store(), jobs[2:])  # type: ignore[arg-type]
    assert [job.error is not None for job in jobs] == [False, False, False, True]
    assert told[1:] == [[outcomes[0]]]


def test_an_origin_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a site alone"):
        Live("click", origins=["https://shop.example/page"])
