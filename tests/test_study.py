"""study.toml: everything wrong with one is found, named and given a remedy."""

import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from helpers import commit, contract, git, make_study, play, says, toml
from hypothesis import example, given
from hypothesis import strategies as st

from autoresearch import events
from autoresearch.errors import StudyError
from autoresearch.hosts import Origin
from autoresearch.live.settings import Feed, Hook, Live
from autoresearch.patterns import may_change
from autoresearch.study import FILE, UNITS, load, parse


def problem(**changes: Any) -> str:
    """What is said about the usual study with these changes."""
    with pytest.raises(StudyError) as caught:
        parse(toml(contract(**changes)))
    return str(caught.value)


def without(*path: str) -> str:
    """The usual study without one key."""
    tables = contract()
    table = tables
    for part in path[:-1]:
        table = table[part]
    del table[path[-1]]
    return toml(tables)


def test_a_study_is_read_into_types_with_its_defaults() -> None:
    study = parse(toml(contract(measure={"budget": "300 seconds"})))
    assert (study.name, study.asset, study.metric.direction) == ("s", ["step.sh"], "minimize")
    assert study.measure.allowance is not None
    assert (study.measure.allowance.amount, study.measure.allowance.unit) == (300.0, "seconds")
    assert (study.decide.policy, study.decide.repeats, study.budget.trials) == ("climb", 3, None)


def living(**live: Any) -> dict[str, Any]:
    return {"metric": {"direction": "maximize"}, "live": {"outcome": "click"} | live}


HOOK, FEED = {"name": "a", "secret": "$A"}, {"name": "a", "address": "https://a.example"}
CHOICES = [
    (f"live.{entry}{field.name}{'[0]' if field.name == 'segments' else ''}", make, field)
    for table, entry, make in (
        (Live, "", lambda said: living(**said)),
        (Hook, "hooks[0].", lambda said: living(hooks=[HOOK | said])),
        (Feed, "feeds[0].", lambda said: living(feeds=[FEED | said])),
    )
    for field in msgspec.structs.fields(table)
    if "Literal" in str(field.type)
]


@pytest.mark.parametrize(("key", "make", "field"), CHOICES, ids=[key for key, *_ in CHOICES])
def test_a_word_that_a_live_study_does_not_know_is_told_with_all_that_it_knows(key: str, make: Any, field: Any) -> None:
    many = key.endswith("[0]")
    words = typing.get_args(typing.get_args(field.type)[0] if many else field.type)
    said = problem(**make({field.name: ["fax"] if many else "fax"}))
    assert said == f"study.toml: {key} = 'fax' is not possible (it must be {' or '.join(map(repr, words))})"
    near = problem(**make({field.name: [words[0][:-1]] if many else words[0][:-1]}))
    assert f"{key} = {words[0][:-1]!r} is not possible (did you mean {words[0]!r}?)" in near


@pytest.mark.parametrize(
    ("live", "says"),
    [
        ({"outcom": "x"}, "live.outcom is not a key (did you mean 'outcome'?)"),
        ({"hooks": [HOOK | {"shap": "x"}]}, "live.hooks[0].shap is not a key (did you mean 'shape'?)"),
        ({"guardrails": ["unsubscribe less 1%"]}, "live.guardrails: 'unsubscribe less 1%' must bound a rate"),
        ({"guardrails": ["a <= baseline"]}, "like 'unsubscribe <= 0.005'"),
        ({"interactions": [["a", "a"]]}, "live.interactions must be pairs of different variables"),
        ({"interactions": [["a", "b"], ["b", "a"]]}, "live.interactions must name each pair once"),
        ({"hooks": [HOOK | {"secret": "short"}]}, "live.hooks[0].secret must have 16 characters"),
        ({"hooks": [HOOK | {"name": "a/b"}]}, "live.hooks[0].name = 'a/b' must be made of letters"),
        (
            {"feeds": [FEED, FEED | {"address": "http://x"}]},
            "live.feeds[1].address must be a whole one that begins with https",
        ),
        ({"feeds": [FEED | {"address": "https://["}]}, "live.feeds[0].address"),
        ({"feeds": [FEED | {"overlap_s": -1.0}]}, "live.feeds[0].overlap_s must be 0 or more"),
    ],
)
def test_what_is_wrong_with_a_live_study_is_told_with_its_key(live: dict[str, Any], says: str) -> None:
    assert says in problem(**living(**live))


def allowing(*allow: dict[str, Any], **propose: Any) -> dict[str, Any]:
    return {"propose": {"sandbox": "auto", "allow": list(allow)} | propose}


@pytest.mark.parametrize(
    ("changes", "key", "remedy"),
    [
        ({"nmae": "x"}, "nmae", "did you mean 'name'?"),
        ({"metrics": {}}, "metrics", "did you mean 'metric'?"),
        ({"zzz": 1}, "zzz", "keys here: name, asset, metric"),
        ({"metric": {"directon": "minimize"}}, "metric.directon", "did you mean 'direction'?"),
        ({"measure": {"timeout": 5}}, "measure.timeout", "did you mean 'timeout_s'?"),
        ({"propose": {"with_": ["search"]}}, "propose.with_", "did you mean 'with'?"),
        ({"budget": {"trial": 5}}, "budget.trial", "did you mean 'trials'?"),
        ({"decide": {"xyz": 5}}, "decide.xyz", "keys here: policy, race, halving, ladder, screen, calibrate, repeats"),
        ({"metric": {"direction": "min"}}, "metric.direction", "did you mean 'minimize'?"),
        ({"metric": {"direction": "Higher"}}, "metric.direction", "did you mean 'maximize'?"),
        ({"metric": {"direction": "maximise"}}, "metric.direction", "did you mean 'maximize'?"),
        ({"metric": {"direction": "sideways"}}, "metric.direction", "must be 'minimize' or 'maximize'"),
        ({"name": 5}, "name", "must be of type str"),
        ({"asset": "train.py"}, "asset", "must be of type array"),
        ({"asset": [1]}, "asset[0]", "must be of type str"),
        ({"metric": 1}, "metric", "must be of type"),
        ({"measure": {"timeout_s": "long"}}, "measure.timeout_s", "must be of type float"),
        ({"measure": {"timeout_s": True}}, "measure.timeout_s", "must be of type float"),
        ({"execute": {"cores": 1.5}}, "execute.cores", "must be of type int"),
        ({"decide": {"repeats": [3]}}, "decide.repeats", "must be of type int"),
        ({"name": "A study"}, "name", "lower-case letters"),
        ({"name": "a..b"}, "name", "lower-case letters"),
        ({"name": "a.lock"}, "name", "lower-case letters"),
        ({"name": "x" * 41}, "name", "at most 40"),
        ({"name": ""}, "name", "lower-case letters"),
        ({"asset": []}, "asset", "at least one file"),
        ({"asset": [""]}, "asset", "at least one file"),
        ({"asset": ["../train.py"]}, "asset '../train.py'", "inside the study's folder"),
        ({"asset": ["a/../../b"]}, "asset 'a/../../b'", "inside the study's folder"),
        ({"asset": ["/etc/passwd"]}, "asset '/etc/passwd'", "inside the study's folder"),
        ({"asset": ["~/train.py"]}, "asset '~/train.py'", "inside the study's folder"),
        ({"asset": [FILE]}, "asset 'study.toml'", "always frozen"),
        ({"asset": ["*"]}, "asset '*'", "always frozen"),
        ({"asset": ["src", "**"]}, "asset '**'", "always frozen"),
        ({"asset": ["*.toml"]}, "asset '*.toml'", "always frozen"),
        ({"asset": ["./study.tom?"]}, "asset './study.tom?'", "always frozen"),
        ({"metric": {"name": ""}}, "metric.name", "one word"),
        ({"metric": {"name": "val bpb"}}, "metric.name", "one word"),
        ({"metric": {"name": "a=b"}}, "metric.name", "one word"),
        ({"metric": {"max_step": 0}}, "metric.max_step", "positive"),
        ({"metric": {"guards": ["peak_memory_mb"]}}, "metric.guards", "peak_memory_mb <= 64000"),
        ({"metric": {"guards": ["loss == 3"]}}, "metric.guards", "a name, a sense and a number"),
        ({"measure": {"sets": ["search", "sealed"]}}, "measure.sets", "`score`"),
        ({"measure": {"sets": ["sealed"], "score": "x"}}, "measure.sets", '"search"'),
        ({"measure": {"sets": ["search", "search"], "score": "x"}}, "measure.sets", "once"),
        ({"measure": {"sets": ["search", "seeled"], "score": "x"}}, "measure.sets[1]", "did you mean 'sealed'?"),
        ({"decide": {"ladder": "yes"}}, "decide.ladder", "'auto' or 'on' or 'off'"),
        ({"measure": {"run": ""}}, "measure.run", "is empty"),
        ({"measure": {"run": "  "}}, "measure.run", "is empty"),
        ({"measure": {"run": "sh 'step.sh"}}, "measure.run", "cannot be split"),
        ({"measure": {"score": ""}}, "measure.score", "is empty"),
        ({"measure": {"prepare": 'a "b'}}, "measure.prepare", "cannot be split"),
        ({"measure": {"timeout_s": 0}}, "measure.timeout_s", "positive number of seconds"),
        ({"measure": {"timeout_s": -1}}, "measure.timeout_s", "positive number of seconds"),
        ({"measure": {"timeout_s": float("inf")}}, "measure.timeout_s", "positive number of seconds"),
        ({"measure": {"timeout_s": float("nan")}}, "measure.timeout_s", "positive number of seconds"),
        ({"measure": {"score_timeout_s": -0.5}}, "measure.score_timeout_s", "positive number of seconds"),
        ({"measure": {"prepare_timeout_s": 0}}, "measure.prepare_timeout_s", "positive number of seconds"),
        ({"measure": {"budget": "300"}}, "measure.budget", "like '300 seconds'"),
        ({"measure": {"budget": "300 sec"}}, "measure.budget", "tokens, steps, flops"),
        ({"measure": {"budget": "many tokens"}}, "measure.budget", "like '300 seconds'"),
        ({"measure": {"budget": "-5 steps"}}, "measure.budget", "like '300 seconds'"),
        ({"measure": {"budget": "nan steps"}}, "measure.budget", "like '300 seconds'"),
        ({"measure": {"budget": "inf seconds"}}, "measure.budget", "like '300 seconds'"),
        ({"execute": {"cores": 0}}, "execute.cores", "must be positive"),
        ({"execute": {"workers": -2}}, "execute.workers", "must be positive"),
        ({"decide": {"calibrate": 0}}, "decide.calibrate", "must be positive"),
        ({"decide": {"repeats": 0}}, "decide.repeats", "must be positive"),
        ({"budget": {"trials": 0}}, "budget.trials", "must be positive"),
        ({"budget": {"hours": -1.0}}, "budget.hours", "must be positive"),
        ({"propose": {"timeout_s": -1}}, "propose.timeout_s", "positive"),
        ({"propose": {"with": []}}, "propose.with", "one proposer"),
        ({"propose": {"with": ["search", "search"]}}, "propose.with", "each once"),
        ({"propose": {"with": ["command"]}}, "propose.with", "needs a key `command`"),
        ({"propose": {"with": ["command"], "command": ""}}, "propose.", "`command`"),
        ({"propose": {"with": ["script"], "script": ""}}, "propose.with", "needs a key `script`"),
        ({"propose": {"command": "a 'b"}}, "propose.command", "cannot be split"),
        ({"propose": {"sandbox": "chroot"}}, "propose.sandbox", "one of auto, bubblewrap"),
        ({"propose": {"allow": [{"host": "a.example"}]}}, "propose.allow has no effect", "remove one of the two"),
        (allowing({"host": "a.example", "key": "A"}), "propose.allow[0].key = 'A'", "needs `address`"),
        (allowing({"host": "a.example", "hots": "A"}), "propose.allow[0].hots", "did you mean 'host'?"),
        (allowing({"key": "A"}), "propose.allow[0].host", "is missing"),
        (
            allowing({"host": "a.example", "key": "A B", "address": "C"}),
            "propose.allow[0].key = 'A B'",
            "name of a variable",
        ),
        (allowing({"host": "a.example", "key": "A", "address": "A"}), "propose.allow and env", "is not passed on"),
        (
            allowing({"host": "a.example", "key": "A", "address": "B"}, env=["A"]),
            "propose.allow and env",
            "both name A",
        ),
        (
            allowing({"host": "a.example", "address": "B"}, {"host": "b.example", "address": "B"}),
            "propose.allow names the same `address`",
            "a variable of its own",
        ),
        *(
            (allowing({"host": host}), f"propose.allow[0].host {host!r}", "must be one host")
            for host in (
                "",
                "*",
                "*.a.example",
                "a.example/v1",
                "https://me:pw@a.example",
                "a.example:0",
                "a.example:99999",
            )
        ),
        *(
            (allowing({"host": host}), "propose.allow[0].host", "must be one host")
            for host in ("ftp://a.example", "a.example?x", "a b", "a.example:", "\u0430.example", "a.example\n", "::1")
        ),
    ],
    ids=str,
)
def test_every_mistake_is_named_with_its_key_and_a_remedy(changes: dict[str, Any], key: str, remedy: str) -> None:
    said = problem(**changes)
    assert said.startswith(f"study.toml: {key}"), said
    assert remedy in said


@pytest.mark.parametrize(
    "path", [("name",), ("asset",), ("metric",), ("measure",), ("metric", "name"), ("measure", "run")]
)
def test_a_missing_key_is_named(path: tuple[str, ...]) -> None:
    with pytest.raises(StudyError, match=rf"study\.toml: {'.'.join(path)} is missing"):
        parse(without(*path))


@pytest.mark.parametrize("text", ["name = ", "= 1", "[a\n", "name = 'a'\nname = 'b'", "\x00", "a = " + "[" * 5000])
def test_what_is_not_toml_is_said_to_be_so(text: str) -> None:
    with pytest.raises(StudyError, match=r"study\.toml: not valid TOML"):
        parse(text)


def test_a_folder_without_a_study_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"no study\.toml in .*autoresearch init"):
        load(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"name = '\xff\xfe'")
    with pytest.raises(StudyError, match=r"study\.toml: cannot be read"):
        load(tmp_path)


def test_a_folder_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StudyError, match=r"study\.toml: cannot be read"):
        load(tmp_path)


KEYS = st.sampled_from(
    [
        *["name", "asset", "metric", "measure", "execute", "propose", "decide", "budget", "direction", "unit", "run"],
        *[
            "score",
            "timeout_s",
            "cores",
            "workers",
            "with",
            "command",
            "script",
            "policy",
            "repeats",
            "trials",
            "hours",
        ],
    ]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.booleans(),
    st.sampled_from(["minimize", "min", "300 seconds", "sh x", "s", "search", "1979-05-27"]),
)
TREES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(st.dictionaries(KEYS, TREES, max_size=5), st.booleans())
@example({"x` - at `$foo": 1}, True)  # the decoder's own words, in a key
@example({"metric": {"x` - at `$.measure.run": 1, "name": "loss"}}, True)
def test_any_toml_is_a_study_or_a_study_error(tables: dict[str, Any], merged: bool) -> None:
    text = toml(contract(**tables) if merged else tables)
    said = FILE
    try:
        parse(text)
    except StudyError as error:
        said = str(error)
    assert said.startswith(FILE)


@given(st.text(max_size=60))
def test_any_text_is_a_study_or_a_study_error(text: str) -> None:
    with pytest.raises(StudyError, match=r"^study\.toml: "):
        parse(text)


# -- asset patterns ------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_characters="/*?\0", exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda name: name not in {".", ".."}
)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


@given(PATHS)
def test_a_plain_name_means_itself_and_everything_below(path: str) -> None:
    assert may_change([path], path)
    assert may_change([path], f"{path}/below/it")
    assert may_change([f"{path}/"], f"{path}/below")
    assert not may_change([path], f"{path}x")
    assert not may_change([path], f"x{path}")
    assert not may_change([path], f"x/{path}")


@given(NAMES, NAMES, NAMES)
def test_one_star_stays_within_a_folder_and_two_cross(a: str, b: str, c: str) -> None:
    assert may_change(["*"], a)
    assert may_change([f"{a}/*"], f"{a}/{b}")
    assert may_change([f"{a}/**"], f"{a}/{b}/{c}")
    assert may_change([f"{a}/**/{c}"], f"{a}/{c}")
    assert may_change([f"{a}/**/{c}"], f"{a}/{b}/{b}/{c}")
    assert not may_change([f"{a}/*.py"], f"{a}/{b}/{c}.py")
    assert may_change([f"{a}/**/*.py"], f"{a}/{b}/{c}.py")
    assert not may_change([f"{a}/**"], f"{a}x/{b}")


@given(NAMES)
def test_a_question_mark_is_one_character_of_a_name(name: str) -> None:
    assert may_change(["?" * len(name)], name)
    assert not may_change(["?" * (len(name) + 1)], name)
    assert not may_change(["a?b"], "a/b")


@given(PATHS, PATHS)
def test_what_looks_like_a_regular_expression_is_not_one(pattern: str, path: str) -> None:
    inside = path == pattern or path.startswith(f"{pattern}/")
    assert may_change([pattern], path) == inside or pattern.startswith("./")


@given(st.text("ab/*?.", min_size=1, max_size=8))
def test_no_asset_ever_includes_the_contract(pattern: str) -> None:
    try:
        study = parse(toml(contract(asset=[pattern, "x"])))
    except StudyError:
        return
    assert not study.may_change(FILE)


# -- the referee's identity ----------------------------------------------------------------------------


def digest(*frozen: str, **changes: Any) -> str:
    return parse(toml(contract(**changes))).digest(frozen)


@pytest.mark.parametrize(
    "changes",
    [
        {"metric": {"name": "other"}},
        {"metric": {"direction": "maximize"}},
        {"measure": {"run": "sh other.sh"}},
        {"measure": {"score": "sh score.sh"}},
        {"measure": {"budget": "5 seconds"}},
        {"measure": {"timeout_s": 21}},
        {"asset": ["step.sh", "more.sh"]},
    ],
    ids=str,
)
def test_whatever_bears_on_the_value_changes_the_digest(changes: dict[str, Any]) -> None:
    assert digest("a", **changes) != digest("a")


def test_frozen_files_are_part_of_the_digest_whatever_their_order() -> None:
    assert digest("a", "b") == digest("b", "a") != digest("a", "c")


@pytest.mark.parametrize(
    "changes",
    [{"decide": {"repeats": 9}}, {"budget": {"trials": 9}}, {"execute": {"workers": 3}}, {"propose": {"timeout_s": 9}}],
    ids=str,
)
def test_what_bears_only_on_the_search_leaves_the_digest_alone(changes: dict[str, Any]) -> None:
    assert digest("a", **changes) == digest("a")


def test_other_goals_and_budgets_do_not_reopen_a_study(tmp_path: Path) -> None:
    folder = make_study(tmp_path, says(9))
    state = play(folder)
    (folder / "program.md").write_text("Another goal.\n")
    (folder / FILE).write_text(toml(contract(decide={"repeats": 9}, budget={"trials": 9})))
    assert play(folder).digest == state.digest
    git(folder, "checkout", "--quiet", ".")
    (folder / "note.txt").write_text("the person goes on working")
    commit(folder)
    again = play(folder)
    assert again.digest == state.digest
    assert len(again.trials) == len(state.trials)


def test_every_unit_of_the_design_is_a_budget() -> None:
    for unit in UNITS:
        study = parse(toml(contract(measure={"budget": f"1e3 {unit}"})))
        assert study.measure.allowance is not None
        assert study.measure.allowance.unit == unit
    assert set(UNITS) == {"tokens", "steps", "flops", "processor_seconds", "seconds"}


def test_a_name_that_is_allowed_is_a_name_that_git_takes(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    for name in ("a", "a-b_c.d", "0", "x" * 40, "1.5"):
        assert parse(toml(contract(name=name))).name == name
        git(tmp_path, "check-ref-format", f"refs/heads/autoresearch/{name}")


def test_opening_is_an_event_with_the_metric_as_it_was(tmp_path: Path) -> None:
    folder = make_study(tmp_path, metric={"unit": "s"})
    opened = play(folder).opened
    assert isinstance(opened, events.StudyOpened)
    assert (opened.metric.name, opened.metric.unit, opened.study) == ("loss", "s", "s")


@pytest.mark.parametrize(
    ("host", "scheme", "name", "port"),
    [
        ("api.example.com", "https", "api.example.com", 443),
        ("API.Example.com:8443", "https", "api.example.com", 8443),
        ("http://127.0.0.1:11434", "http", "127.0.0.1", 11434),
        ("http://model_server", "http", "model_server", 80),
        ("https://[::1]:8000", "https", "[::1]", 8000),
    ],
)
def test_a_host_is_one_scheme_one_name_one_port(host: str, scheme: str, name: str, port: int) -> None:
    study = parse(toml(contract(**allowing({"host": host}))))
    assert study.propose.allow[0].origin == Origin(scheme, name, port)
