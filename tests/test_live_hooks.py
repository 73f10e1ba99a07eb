"""What comes from outside: webhooks, files and feeds, honest or not; refused, or harmless."""

import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sqlalchemy", reason="the extra live is not installed")

from autoresearch.campaign import tools
from autoresearch.errors import StudyError
from autoresearch.live import hooks, importing, plan, polling
from autoresearch.live.figures import figures
from autoresearch.live.hooks import Delivery, Refusal, Source, receive, sign
from autoresearch.live.records import AnyRecord, Cost, Exposure, Outcome, Suppression, Tally
from autoresearch.live.settings import Hook, Live
from autoresearch.live.store import Store, open_store
from autoresearch.live.table import Problem

NOW = 1_772_000_000.0
SECRET = "a-secret-of-some-length"
SITE = Source("site", SECRET)
INSTANTLY = Source("instantly", SECRET, "instantly", "token")
SMARTLEAD = Source("smartlead", SECRET, "smartlead", "signed")
unit_of = partial(plan.unit, b"salt")
ANNA = "anna@example.org"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "live.db", "s")
    yield store
    store.close()


def click(**more: object) -> dict[str, object]:
    return {"event": "click", "person": ANNA, "at": NOW - 5} | more


def told(event: object, now: float = NOW) -> Delivery | Refusal:
    body = json.dumps(event).encode()
    return receive(body, sign(SECRET, body, now), now, SITE, unit_of)


def records(event: object, source: Source = SITE) -> tuple[AnyRecord, ...]:
    """What a delivery says, that must be taken."""
    body = json.dumps(event).encode()
    headers = sign(SECRET, body, NOW)
    if source.proof == "signed":
        headers = {"x-smartlead-signature": f"sha256={hooks._hmac(SECRET, body)}"}
    found = receive(body, headers, NOW, source, unit_of, token=SECRET if source.proof == "token" else "")
    assert isinstance(found, Delivery), found
    return found.records


# -- who may knock ----------------------------------------------------------------------------------------------


def test_a_delivery_is_taken_once_however_often_it_is_told(store: Store) -> None:
    body = json.dumps(
        [click(id="7"), click(event="bounce"), {"event": "suppression", "person": ANNA, "at": NOW}]
    ).encode()
    headers = sign(SECRET, body, NOW)
    deliveries = [receive(body, headers, NOW + later, SITE, unit_of) for later in (0, 60, 299)]

    assert all(isinstance(one, Delivery) for one in deliveries)
    assert [store.add(one.records) for one in deliveries if isinstance(one, Delivery)] == [4, 0, 0], (
        "a bounce stops what is written"
    )
    assert store.suppressed([unit_of(" Anna@Example.ORG ")]) == {unit_of(ANNA)}


@pytest.mark.parametrize("skew", [-301, 301, -1e7, 1e7])
def test_an_old_request_or_one_from_the_future_is_refused(skew: float) -> None:
    body = json.dumps(click()).encode()
    refused = receive(body, sign(SECRET, body, NOW + skew), NOW, SITE, unit_of)
    assert isinstance(refused, Refusal)
    assert refused.status == 401


@given(st.binary(max_size=60), st.text(max_size=80), st.text(max_size=20))
def test_without_the_secret_nothing_is_taken(body: bytes, signature: str, stamp: str) -> None:
    good = sign(SECRET, body, NOW)
    guesses: list[dict[str, str]] = [
        {},
        {"x-timestamp": good["x-timestamp"], "x-signature": signature},
        {"x-timestamp": stamp, "x-signature": good["x-signature"]},
        sign("another secret of a length", body, NOW),
        sign(SECRET, body + b" ", NOW),
        {"x-timestamp": str(int(NOW) + 1), "x-signature": good["x-signature"]},
        {"x-token": signature, "authorization": f"Bearer {signature}", "x-smartlead-signature": signature},
    ]
    for source in (SITE, INSTANTLY, SMARTLEAD):
        for headers in guesses:
            refused = receive(body, headers, NOW, source, unit_of, token=signature)
            assert isinstance(refused, Refusal)
            assert refused.status == 401


def test_ten_megabytes_are_refused_before_they_are_read() -> None:
    body = b"[" + b" " * (10 << 20) + b"]"
    assert receive(body, sign(SECRET, body, NOW), NOW, SITE, unit_of) == Refusal(
        413, "a delivery has 1,048,576 bytes at most"
    )


def test_an_event_from_the_future_is_refused_and_one_of_a_clock_that_is_a_little_ahead_is_not() -> None:
    assert isinstance(told(click(at=NOW + 299)), Delivery)
    refused = told([click(), click(at=NOW + 301)])
    assert isinstance(refused, Refusal)
    assert refused.status == 422
    assert "event 1" in refused.why
    assert "clock" in refused.why


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000, b"1", b'["x"]', b"[[]]", b'{"event": 1}', b"null"],
)
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    refused = receive(body, sign(SECRET, body, NOW), NOW, SITE, unit_of)
    assert isinstance(refused, Refusal)
    assert refused.status in (400, 422)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
WHO = ("person", "email", "unit", "lead_email", "sl_lead_email", "lead", "lead_data")
WHAT = (
    "event",
    "event_type",
    "lead_category",
    "category",
    "cell",
    "ar_cell",
    "ar_plan",
    "ar_chance",
    "value",
    "amount",
    "why",
)
KEYS = st.sampled_from((*WHO, *WHAT, "id", "at", "timestamp", "event_timestamp"))
KNOWN = st.sampled_from(
    ["click", "exposure", "cost", "suppression", "lead_interested", "email_sent", "EMAIL_BOUNCE", NOW, ANNA, "a=b"]
)


@given(st.dictionaries(KEYS, KNOWN | JSON, max_size=8), st.sampled_from([SITE, INSTANTLY, SMARTLEAD]))
def test_whatever_a_field_holds_it_is_refused_or_a_record_that_can_be_kept(
    event: dict[str, Any], source: Source
) -> None:
    body = json.dumps(event).encode()
    headers = sign(SECRET, body, NOW) | {"x-smartlead-signature": hooks._hmac(SECRET, body), "x-token": SECRET}
    if source is SMARTLEAD:
        del headers["x-signature"]
    found = receive(body, headers, NOW, source, unit_of)

    if isinstance(found, Refusal):
        assert found.status in (400, 422)
        assert ANNA not in found.why
        return
    for record in found.records:
        assert record.source == source.name
        assert ANNA not in repr(record)
        assert record.at <= NOW + 300


INJECTED = [
    "'; DROP TABLE ar_records; --",
    "<script>alert(1)</script>",
    "{{ 7*7 }}",
    "=HYPERLINK(1)",
    "\0",
    "\ud800",
    "x" * 5000,
    "☃ %s",
]


def test_what_is_injected_into_a_text_is_kept_as_text_or_refused(store: Store) -> None:
    taken: list[AnyRecord] = []
    for key in ("event", "person", "id", "why", "cell", "ar_segment", "value"):
        for n, text in enumerate(INJECTED):
            for kind in ("click", "exposure", "suppression"):
                event = {
                    "event": kind,
                    "person": f"{key}{n}{kind}",
                    "at": NOW,
                    "ar_cell": "a=b",
                    "id": f"{key}{n}{kind}",
                }
                found = told(event | {key: text + kind if key == "id" else text})
                if isinstance(found, Refusal):
                    assert found.status in (400, 422)
                    continue
                assert store.add(found.records) == 1
                taken += found.records

    assert len(taken) > 90
    exposures = [one for one in taken if isinstance(one, Exposure)]
    assert {store.first(one.unit) for one in exposures} == {
        min((o for o in exposures if o.unit == one.unit), key=lambda o: o.id) for one in exposures
    }
    assert store.summary().last == len(taken)


def test_a_secret_that_is_short_or_a_name_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="16 characters"):
        Source("site", "short")
    with pytest.raises(ValueError, match="letters, digits"):
        Source("a/b", SECRET)
    assert SECRET not in repr(SITE)
    live = Live("click", hooks=[Hook("first", SECRET), Hook("site", "$SITE_SECRET")])
    with pytest.raises(
        StudyError, match=r"study\.toml: live\.hooks\[1\]\.secret must .* \(it is taken from \$SITE_SECRET\)"
    ):
        tools.called(live, b"salt", {"SITE_SECRET": "short"})


# -- what they say ------------------------------------------------------------------------------------------------


def test_our_own_shape() -> None:
    shown = click(
        event="exposure",
        ar_cell="cta=trial;tone=calm",
        ar_plan=3,
        ar_chance=0.25,
        ar_segment="mobile",
        held=False,
        id="e1",
    )
    found = records(
        {
            "events": [
                shown,
                click(id=9, value=20),
                {"event": "cost", "at": "2026-02-25T06:00:00+01:00", "cell": "a=b", "amount": 3},
            ]
        }
    )

    unit = unit_of(ANNA)
    assert found[0] == Exposure(
        source="site", id="e1", at=NOW - 5, unit=unit, cell="cta=trial;tone=calm", segment="mobile", plan=3, chance=0.25
    )
    assert found[1] == Outcome(source="site", id="9", at=NOW - 5, unit=unit, kind="click", value=20)
    stopped = records({"event": "suppression", "unit": unit, "at": NOW, "why": "asked by mail", "id": "s1"})
    assert stopped == (Suppression(source="site", id="s1", at=NOW, unit=unit, why="asked by mail"),)
    assert isinstance(found[2], Cost)
    assert (found[2].at, found[2].amount) == (1_771_995_600.0, 3)


@pytest.mark.parametrize("kind", ["unsubscribe", "bounce", "complaint", "Unsubscribed"])
def test_who_says_no_more_in_our_own_shape_is_not_written_to_again_as_in_the_tools_shapes(
    store: Store, kind: str
) -> None:
    said, again = records(click(event=kind, id="e" * 120)), records(click(event=kind, id="e" * 120))
    assert said == again
    assert [type(one) for one in said] == [Outcome, Suppression]
    assert store.add([*said, *records(click(person="bea@example.org"))]) == 3
    assert store.suppressed([unit_of(ANNA), unit_of("bea@example.org")]) == {unit_of(ANNA)}
    found = imported(f"person,event,at\n{ANNA},{kind},2026-02-01\nbea@example.org,click,2026-02-01\n")
    assert (importing.stopped(found), found.kinds) == (1, {kind: 1, "click": 1})


def test_an_id_that_names_a_person_is_not_kept_and_one_that_is_missing_follows_from_the_content() -> None:
    named, again = records(click(id=f"{ANNA}-1")), records(click(id=f"{ANNA}-1"))
    assert named == again
    assert ANNA not in repr(named)
    assert records(click()) == records(click())
    assert records(click())[0].id != records(click(at=NOW - 6))[0].id


def test_instantly_as_it_documents_its_events() -> None:
    base = {
        "timestamp": "2026-02-25T06:12:00.353Z",
        "workspace": "5f0e",
        "campaign_id": "c1",
        "campaign_name": "Spring",
        "lead_email": ANNA,
        "email_account": "me@sender.example",
        "step": 1,
        "variant": 1,
        "is_first": True,
    }
    sent = records(base | {"event_type": "email_sent", "ar_cell": "subject=short", "ar_plan": "4"}, INSTANTLY)[0]
    assert isinstance(sent, Exposure)
    assert (sent.cell, sent.plan, sent.unit, sent.at) == ("subject=short", 4, unit_of(ANNA), 1_771_999_920.353)

    def kinds(kind: str) -> list[str]:
        found = records(base | {"event_type": kind, "reply_text": "Yes, gladly."}, INSTANTLY)
        assert len({one.id for one in found}) == len(found)
        assert "gladly" not in repr(found)
        return [one.kind if isinstance(one, Outcome) else type(one).__name__ for one in found]

    assert kinds("reply_received") == ["reply"]
    assert kinds("lead_interested") == ["positive_reply"]
    assert kinds("lead_meeting_booked") == ["positive_reply", "meeting"]
    assert kinds("email_bounced") == ["bounce", "Suppression"]
    assert kinds("lead_unsubscribed") == ["unsubscribe", "Suppression"]


def test_an_event_that_means_nothing_here_is_counted_and_taken() -> None:
    body = json.dumps(
        [{"event_type": "account_error"}, {"event_type": "email_sent", "lead_email": ANNA, "timestamp": NOW}]
    ).encode()
    found = receive(body, {"authorization": f"Bearer {SECRET}"}, NOW, INSTANTLY, unit_of)
    assert found == Delivery((), {"account_error": 1, "email_sent without ar_cell": 1})


def test_smartlead_as_it_documents_its_events() -> None:
    base = {
        "webhook_id": 11,
        "campaign_id": 111,
        "campaign_status": "COMPLETED",
        "stats_id": "a891",
        "from_email": "me@sender.example",
        "to_email": "alias@example.org",
        "sl_lead_email": ANNA,
        "sequence_number": 1,
        "event_timestamp": "2026-02-25T06:12:00.618881+00:00",
        "secret_key": "e0207d40",
    }
    custom = {"lead_data": {"email": ANNA, "custom_fields": {"ar_cell": "subject=short", "ar_held": "true"}}}
    sent = records(base | {"event_type": "EMAIL_SENT"} | custom, SMARTLEAD)[0]
    assert isinstance(sent, Exposure)
    assert (sent.cell, sent.held, sent.unit) == ("subject=short", True, unit_of(ANNA))

    def kinds(**event: object) -> list[str]:
        found = records(base | event, SMARTLEAD)
        assert {one.unit for one in found if not isinstance(one, Cost)} <= {unit_of(ANNA)}
        return [one.kind if isinstance(one, Outcome) else type(one).__name__ for one in found]

    assert kinds(event_type="EMAIL_REPLY") == ["reply"]
    assert kinds(event_type="LEAD_CATEGORY_UPDATED", lead_category={"new_name": "Interested"}) == ["positive_reply"]
    assert kinds(event_type="LEAD_CATEGORY_UPDATED", lead_category={"new_name": "Do Not Contact"}) == [
        "negative_reply",
        "Suppression",
    ]
    assert kinds(event_type="LEAD_CATEGORY_UPDATED", lead_category={"new_name": "Out Of Office"}) == []
    assert kinds(event_type="EMAIL_BOUNCE") == ["bounce", "Suppression"]
    api = {"event": "EMAIL_REPLIED", "timestamp": "2026-02-25T06:12:00Z", "lead": {"email": ANNA}}
    assert isinstance(records(api, SMARTLEAD)[0], Outcome)


# -- files ----------------------------------------------------------------------------------------------------------


def imported(text: str, **more: Any) -> importing.Import:
    return importing.read(text.encode(), "sends", unit_of, NOW, **more)


SENT = "Email;Event;Timestamp;ar_cell;ar_plan;Company\n" + "".join(
    f"p{n}@example.org;exposure;2026-02-0{n}T10:00:00Z;subject=short;2;Acme\n" for n in range(1, 6)
)


def test_the_same_file_twice_is_a_no_op_and_the_dry_run_says_so(store: Store) -> None:
    found = imported(SENT)
    assert found.problems == ()
    assert found.unused == ("Company",)
    assert found.columns["person"] == "Email"
    assert found.kinds == {"exposure": 5}

    assert importing.look(store, found) == importing.Result(5, 0)
    assert store.seen() == 0
    assert importing.bring_in(store, found) == importing.Result(5, 0)
    assert importing.look(store, found) == importing.bring_in(store, found) == importing.Result(0, 5)
    longer = imported(SENT + "p1@example.org;reply;2026-02-02T10:00:00Z;;;\n" * 2)
    assert importing.bring_in(store, longer) == importing.Result(2, 5), "two rows that say the same are two"
    assert importing.bring_in(store, longer).new == 0
    assert store.tallies(NOW, None, Live("reply"))[0].successes == 1


def test_what_is_wrong_is_told_by_line_and_column_and_nothing_is_added(store: Store) -> None:
    rows = [
        "p1@example.org,click,yesterday,",
        "p1@example.org,click,2026-02-01,,extra",
        '"p2@example.org\n",exposure,2026-02-01,subject',
        ",click,2026-02-01,",
        "p1@example.org,click,2036-02-01,",
        "p1@example.org,click,20260201,",
    ]
    found = imported("email,event,at,cell\n" + "\n".join(rows))
    assert [(one.line, one.column) for one in found.problems] == [
        (2, "at"),
        (3, ""),
        (4, "cell"),
        (6, "email"),
        (7, "at"),
        (8, "at"),
    ]
    assert "yesterday" in str(found.problems[0])
    with pytest.raises(ValueError, match="line 2"):
        importing.bring_in(store, found)
    assert store.seen() == 0


def test_the_column_says_what_happened_and_an_option_only_where_there_is_none() -> None:
    text = "email,status,at\np1@example.org,unsubscribe,2026-02-01\n"
    assert imported(text, event="click").kinds == {"unsubscribe": 1}
    assert imported(text, event="click", columns={"event": ""}).kinds == {"click": 1}
    [problem] = imported("email,event,at\np1@example.org,,2026-02-01\n", event="click").problems
    assert str(problem) == "line 2, column event: event is missing: say what happened, like click"


def test_who_was_forgotten_and_what_belongs_to_nobody_are_told_apart_from_what_is_known(store: Store) -> None:
    clicks = "".join(f"p{n}@example.org;click;2026-02-09T10:00:00Z;;;\n" for n in range(4, 9))
    importing.bring_in(store, imported(SENT))
    store.forget(unit_of("p4@example.org"))
    found = imported(SENT + clicks)
    assert importing.look(store, found) == importing.Result(new=4, known=4, refused=2, orphans=3)
    assert importing.look(store, found) == importing.bring_in(store, found)
    assert importing.uncounted(found, Live("click")) == {}
    assert importing.uncounted(found, Live("reply", guardrails=["unsubscribe <= 0.1"])) == {"click": 5}


def test_a_record_is_named_by_the_line_that_it_begins_at_and_an_open_quotation_mark_by_its_own() -> None:
    head = 'email,event,at,note\np1@example.org,click,2026-02-01,"two\nlines"\n'
    assert [one.line for one in imported(head + 'p2@example.org,click,never,"two\nlines"\n').problems] == [4]
    [problem] = imported(head + 'p2@example.org,click,2026-02-01,"' + "x\n" * 70_000).problems
    assert str(problem) == "line 4: not CSV: a field is too long; is a quotation mark that opens a text not closed?"
    [problem] = imported("email,event,at,note,note\n").problems
    assert str(problem) == "line 1, column note: two columns have this name: rename one of them"


def test_a_header_that_lacks_something_says_what() -> None:
    assert imported("a,b\n1,2\n").problems == (
        Problem(1, "event", "no column says what happened: name it, or say what every row is"),
        Problem(1, "at", "no column says when it happened: name it"),
    )
    named = imported("Replied on,Who\n2026-02-01,x\n", columns={"at": "Replied on", "person": "Who"}, event="reply")
    assert named.problems == ()
    assert len(named.records) == 1
    assert imported("at,person\n", columns={"nothing": "at", "id": "no"}, event="x").problems[0].line == 1


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"\xff\xfe\x00", b'at,event\n"2026', b"at,event\n\0,1\n", b"a" * 10_000]
)
def test_a_file_that_is_no_table_is_told(content: bytes) -> None:
    assert importing.read(content, "sends", unit_of, NOW).problems


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_file_breaks_the_reader(content: bytes) -> None:
    found = importing.read(b"event,person,at,value\n" + content, "sends", unit_of, NOW)
    assert len(found.records) + len(found.problems) <= found.rows + 1


def test_figures_have_no_persons_and_small_groups_point_at_nobody() -> None:
    tallies = [
        Tally(20_000, "mobile", "a=b", 7.0, 2),
        Tally(20_000, "", "a=c", 4.0, 1, True),
        Tally(20_000, "", "a=d", 3.0, 1),
        Tally(20_001, "", "a=b", 6.5, 0),
        Tally(20_002, "mobile", "a=b", 1.0, 1),  # alone on its day
    ]
    assert figures(tallies) == (
        "day,segment,cell,holdout,units,successes\n2024-10-04,mobile,a=b,false,7,2\n"
        "2024-10-04,,(groups of fewer than 5),,7,2\n2024-10-05,,a=b,false,6.5,0\n"
        ",,(groups of fewer than 5),,1,1\n"
    )


# -- feeds ------------------------------------------------------------------------------------------------------------


class Program(http.server.BaseHTTPRequestHandler):
    """A program whose events can be asked for, two a page; `server.events` are they, `server.asked` what was asked."""

    def do_GET(self) -> None:
        server: Any = self.server
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.path).query))
        server.asked.append(asked | {"auth": self.headers.get("authorization")})
        if server.broken:
            self.send_response(server.broken)
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(b"{}")
            return
        later = [event for event in server.events if float(event["at"]) >= float(asked["from"])]
        at = int(asked.get("page", 0))
        answer = {"items": later[at : at + 2], "next": str(at + 2) if at + 2 < len(later) else None}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def program() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Program)
    server.events, server.asked, server.broken = [], [], 0
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def feed(program: Any) -> polling.Feed:
    address = f"http://127.0.0.1:{program.server_port}/events?list=1"
    return polling.Feed("crm", address, since="from", since_as="seconds", secret=SECRET, overlap_s=100.0)


def test_a_feed_is_read_on_from_where_it_was_and_what_it_tells_late_is_not_missed(store: Store, program: Any) -> None:
    program.events = [click(id=str(n), at=NOW - 1000 + n) for n in range(5)]
    first = polling.poll(feed(program), store, unit_of, NOW)
    assert (first.new, first.known, first.done) == (5, 0, True)
    assert [asked.get("page") for asked in program.asked] == [None, "2", "4"]
    assert program.asked[0]["auth"] == f"Bearer {SECRET}"
    assert program.asked[0]["list"] == "1"

    program.events += [
        click(id="late", at=NOW - 1050),
        click(id="ahead", at=NOW + 250),
        click(id="wrong", at=NOW + 999),
    ]
    second = polling.poll(feed(program), store, unit_of, NOW)
    assert (second.new, second.known, len(second.wrong)) == (2, 5, 1)
    assert program.asked[3]["from"] == str(int(NOW - 1000 + 4 - 100))
    polling.poll(feed(program), store, unit_of, NOW)
    assert program.asked[-1]["from"] == str(int(NOW - 100)), "a clock that is ahead does not make us skip"


def test_a_turn_that_is_cut_short_goes_on_and_one_that_fails_begins_again(store: Store, program: Any) -> None:
    program.events = [click(id=str(n), at=NOW - 1000 + 150 * n) for n in range(6)][::-1]  # the latest first
    assert not polling.poll(feed(program), store, unit_of, NOW, most_pages=1).done
    program.broken = 500
    with pytest.raises(polling.PollError, match="answered 500"):
        polling.poll(feed(program), store, unit_of, NOW)
    program.broken = 0
    again = polling.poll(feed(program), store, unit_of, NOW)
    assert (again.new, again.known) == (4, 2), "what lay behind the page that failed is not skipped"
    assert polling.poll(feed(program), store, unit_of, NOW).new == 0


def test_a_feed_that_leads_elsewhere_or_says_nonsense_is_told(store: Store, program: Any) -> None:
    program.broken = 302
    with pytest.raises(polling.PollError, match="answered 302"):
        polling.poll(feed(program), store, unit_of, NOW)
    program.broken = 200
    with pytest.raises(polling.PollError, match="no list 'items'"):
        polling.poll(feed(program), store, unit_of, NOW)
    with pytest.raises(ValueError, match="https"):
        polling.Feed("crm", "http://example.org/x", secret=SECRET)
    program.broken, program.events = (
        0,
        [{"event": "account_error", "at": NOW}, click(person=None), click(event="Suppression ")],
    )
    found = polling.poll(feed(program), store, unit_of, NOW)
    assert (found.new, len(found.wrong)) == (1, 2)
