"""What may be said in public: numbers, prices and superlatives need a claim; banned words stand nowhere; and texts stay data."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("jinja2", reason="the extra `live` is not installed")

from live_study import TEMPLATE, words

from autoresearch.errors import StudyError
from autoresearch.live import brand, render, variables
from autoresearch.live.brand import Brand

RULES = Brand(
    banned=("risk-free", "guarantee"),
    claims=("14-day trial", "5% off", "the fastest way", "from €9 a month"),
    superlatives=("beste",),
    longest=200,
    max_length={"headline": 30},
)
INNOCENT = ("modest", "interest", "a", "calm", "workshop", "everybody", "planning", "guest", "harvest", "-", "&", "ÄÖ")


@pytest.mark.parametrize(
    "text",
    [
        "Try our 14-day trial",
        "the FASTEST way",
        "5% off",
        "from €9 a month",
        "Modest interest, honest guests",
        "14\u2011day trial",
    ],
)
def test_what_a_claim_covers_may_be_said(text: str) -> None:
    assert list(RULES.said(text)) == []


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("15% off", "15"),  # only 5% is allowed
        ("1.5% off", "1.5"),
        ("5% offside", "5"),
        ("5% of all", "%"),
        ("from €9,000 a month", "9,000"),
        ("$5", "$"),
        ("a hundred workshops", "hundred"),
        ("fastest", "fastest"),
        ("state-of-the-best", "best"),
        ("der beste Kalender", "beste"),
        ("fre\u00ade", "invisible"),
        ("\uff11\uff10 days", "10"),  # wide digits
        ("٣ days", "٣"),
        ("½ price", "1"),
        ("b\u0435st", "alphabets"),  # a Cyrillic letter
        ("risk\u2011free", "risk-free"),
        ("Risk  Free", "risk-free"),
        ("RISK\nFREE", "risk-free"),
        ("gua\u200brantee", "guarantee"),
    ],
)
def test_what_no_claim_covers_is_named(text: str, word: str) -> None:
    assert any(word in why for why in RULES.said(text)), list(RULES.said(text))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from(INNOCENT), max_size=6),
    st.one_of(
        st.integers(0, 10**9).map(str),
        st.decimals(0, 1000, allow_nan=False, places=2).map(str),
        st.sampled_from(["€", "%", "twice", "Best", "FREE", "dozen", "cheapest", "risk-free"]),
    ),
    st.lists(st.sampled_from(INNOCENT), max_size=6),
)
def test_an_assertion_is_found_wherever_it_stands_and_allowed_once_it_is_a_claim(
    before: list[str], said: str, after: list[str]
) -> None:
    text = " ".join([*before, said, *after])
    rules = Brand(banned=("risk-free",))
    assert list(rules.said(text))
    assert not list(rules.said(" ".join([*before, *after])))
    assert not list(Brand(claims=(said,)).said(text))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_judged_and_never_more_leniently_than_its_plain_form(text: str) -> None:
    found = set(RULES.said(text))
    assert {why for why in RULES.said(brand.folded(text)) if "U+" not in why and "alphabets" not in why} <= found


def test_a_breach_names_the_file_the_level_and_the_rule() -> None:
    found = variables.parse(
        '[headline]\ndefault = "plain"\n[headline.levels]\nplain = "Calm mornings"\nloud = "The best of 100 calendars, guarantee"\n'
        '[tone]\nkind = "choice"\ndefault = "a"\n[tone.levels]\na = "best"\n'
    )
    told = brand.breaches(RULES, found)
    assert [line.partition(" ")[2][:40] for line in told] == [
        "headline.levels.loud has 36 characters, ",
        "headline.levels.loud says 'guarantee', w",
        "headline.levels.loud says '100', a numbe",
        "headline.levels.loud says 'best', a supe",
    ]
    assert all(line.startswith("variables.toml: ") and "brand.toml" in line for line in told)
    assert brand.breaches(Brand(max_length={"headlin": 3}), found)[0] == (
        "brand.toml: max_length.headlin: variables.toml has no such variable"
    )


@pytest.mark.parametrize(
    ("text", "word"),
    [("bannd = []", "did you mean 'banned'"), ("longest = 0", "longest"), ("claims = [", "not valid TOML")],
)
def test_a_mistake_in_the_rules_is_explained(text: str, word: str) -> None:
    with pytest.raises(StudyError, match=word):
        brand.parse(text)


WORDS = '[headline]\ndefault = "plain"\n[headline.levels]\nplain = "A calendar"\n'


@pytest.mark.parametrize(
    ("was", "now", "says"),
    [
        ("[headline]", '[headline]\nkind = "time"', "kind = 'time' is not possible (it must be 'text' or 'choice' or"),
        ("[headline]", '[headline]\nkind = "hours"', "did you mean 'hour'?"),
        (
            "plain =",
            '"sh;ort=x" =',
            "[headline]: levels: 'sh;ort=x' is no name of a level: a name has lower-case letters",
        ),
        ('"plain"', '"sh;ort=x"', "default = 'sh;ort=x' is not among its levels: plain"),
        ("A calendar", "", "levels.plain is empty; write what is shown"),
        ("A calendar", " \\n", "levels.plain is empty; write what is shown"),
    ],
)
def test_a_mistake_in_the_variables_is_explained(was: str, now: str, says: str) -> None:
    with pytest.raises(StudyError) as caught:
        variables.parse(WORDS.replace(was, now, 1))
    assert str(caught.value).startswith("variables.toml")
    assert says in str(caught.value)


def test_words_that_only_waiting_are_banned_and_a_whole_that_is_too_long_are_found() -> None:
    template = render.Template("<p>Quite <b>{{ one }}</b>{{ two }}</p><style>guarantee</style><img alt='{{ three }}'>")
    made = template.render({"one": "gua", "two": "rantee", "three": "x" * 190})
    assert brand.whole(RULES, "c", render.seen(made)) == (
        "c: the whole says 'guarantee', which is banned (brand.toml)",
        f"c: the whole has {len('Quite guarantee ') + 190} characters, and longest is 200 (brand.toml)",
    )


# -- templates -------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_a_level_is_never_markup_and_never_a_template(text: str) -> None:
    made = render.Template('<a title="{{ x }}">{{ x }}</a>').render({"x": text + "{{ 7*7 }}<script>'\""})
    assert made.count("<") == 2
    assert made.count(">") == 2
    assert made.count('"') == 2
    assert "49" not in made.replace(text, "")


@pytest.mark.parametrize(
    "source",
    [
        "{{ headline.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{% for i in range(10**9) %}x{% endfor %}",
        "{{ missing }}",
        "{{ headline|attr('__class__') }}",
        "{% include '/etc/passwd' %}",
        "{{ lipsum.__globals__ }}",
        "{% if %}",
    ],
)
def test_a_template_reaches_nothing_but_its_texts(source: str) -> None:
    with pytest.raises(StudyError, match=r"page\.html"):
        render.Template(source).render({"headline": "a"})


def test_a_template_and_its_variables_must_meet() -> None:
    found = words()
    template = render.Template("<h1>{{ headline }} {{ headlin }}</h1>{{ reason }}{{ action }}{{ price }}")
    assert render.problems(template, found) == (
        "page.html: {{ headlin }} is no variable of variables.toml; did you mean headline?",
        "variables.toml: layout is not in page.html, so that nobody would see a difference; write {{ layout }} there",
    )
    whole = render.Template((TEMPLATE / "page.html").read_text())
    assert render.problems(whole, found, "signup") == (
        'page.html: nothing in it has data-outcome="signup", so that the outcome is never reported',
    )


@pytest.mark.parametrize(
    ("name", "file", "outcome"),
    [("landing-page", "page.html", "click"), ("cold-email", "mail.txt", ""), ("ad", "ad.txt", "")],
)
def test_the_templates_keep_their_own_rules(name: str, file: str, outcome: str) -> None:
    folder = TEMPLATE.parent / name
    rules = brand.parse((folder / "brand.toml").read_text(encoding="utf-8"))
    found = words(name)
    template = render.Template((folder / file).read_text(), file)
    assert render.problems(template, found, outcome, rules) == ()
    assert found.forbid
    assert all(3 <= len(variable.levels) <= 4 for variable in found.variables.values())


def test_a_mail_has_one_line_for_its_subject() -> None:
    made = render.Template("Subject: {{ a }}\n\nHello & welcome {{ b }}\n", "mail.txt")
    assert render.mail(made.render({"a": "A & B", "b": "<you>"})) == render.Mail("A & B", "Hello & welcome <you>\n")
    with pytest.raises(StudyError, match="no line break"):
        render.mail(made.render({"a": "A\nBcc: all@example.org", "b": ""}))
