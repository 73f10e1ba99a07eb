"""The map of who took up what: one arrow for each adoption, in the order known here, and nothing of a stranger's but text."""

from pathlib import Path
from xml.etree import ElementTree

import msgspec
from click.testing import CliRunner
from helpers import make_study
from swarms import BUDGET, Crowd, joined, night

from autoresearch.cli import main
from autoresearch.report import adoption
from autoresearch.report.adoption import Map
from autoresearch.share.receipt import Hello
from autoresearch.share.tables import findings, tables, taken
from autoresearch.workspace import HOME

SVG = "{http://www.w3.org/2000/svg}"


def mapped(crowd: Crowd) -> Map:
    swarm = crowd.swarm()
    return adoption.drawing(tables(swarm, ""), taken(swarm), findings(swarm))


def arrows(text: str) -> list[str]:
    """The classes of each arrow in a file."""
    found = (one.get("class", "").split() for one in ElementTree.fromstring(text).iter(f"{SVG}path"))
    return [next((word for word in words if word in ("now", "past")), "") for words in found if "arrow" in words]


def test_a_step_is_one_adoption_in_the_order_in_which_they_came_to_be_known_here() -> None:
    crowd = Crowd(["large", "small", "small"])
    one, other = crowd.say(2, "a" * 8, 0.2), crowd.say(0, "b" * 8, 0.2)
    order = [(1, "b" * 8, other), (0, "a" * 8, one), (1, "a" * 8, one)]
    for number, key, about in order:
        crowd.say(number, key, 0.2, about)
    crowd.say(2, "b" * 8, -0.2, other)  # measured, and not taken up
    found = taken(crowd.swarm())
    assert [(step.by, step.finding) for step in found] == [
        (crowd.peers[number].peer, about) for number, _, about in order
    ]
    assert {*found} == {*tables(crowd.swarm(), "").adoptions}
    assert [step.order for step in found] == [2, 3, 3]
    shown = mapped(crowd)
    assert [shown.keys[step.key].finding for step in shown.steps] == [other, one, one]
    assert shown.steps[0].words.startswith("peer 1 (")
    assert "with its receipt 2, took up" in shown.steps[0].words


def test_the_pictures_of_a_night_gain_an_arrow_each_and_are_alike_in_all_else() -> None:
    shown = mapped(night())
    files = [adoption.svg(shown, step) for step in range(len(shown.steps) + 1)]
    for step, text in enumerate(files):
        assert arrows(text) == ["past"] * (step - 1) + ["now"] * bool(step)
    assert arrows(adoption.svg(shown)) == [""] * 41
    assert len({text.partition("viewBox=")[2].partition(">")[0] for text in files}) == 1
    assert shown.keys[0].known == ("He et al. 2015",)
    for shape in shown.shapes:
        if shape.tag == "circle" and shape.attributes["class"] != "track":
            x, y = float(shape.attributes["cx"]), float(shape.attributes["cy"])
            assert abs((x * x + y * y) ** 0.5 - adoption.RING) < 0.1


def test_what_a_stranger_calls_itself_is_text_in_the_file() -> None:
    crowd = Crowd(["<b>", "]]>&\u202e"])
    crowd.book.say(crowd.peers[0], Hello("</text><script>x\x1b", "<b>", crowd.peers[0].box_key))
    about = crowd.say(0, "a" * 8, 0.2, idea='"><script>alert(1)</script>')
    crowd.say(1, "a" * 8, 0.2, about)
    text = adoption.svg(mapped(crowd))
    tags = {one.tag.removeprefix(SVG) for one in ElementTree.fromstring(text).iter()}
    assert tags == {"svg", "style", "rect", "path", "polygon", "circle", "text", "title"}
    assert "</text><script" in "".join(ElementTree.fromstring(text).itertext())
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_few_many_and_none_are_drawn() -> None:
    assert adoption.svg(mapped(Crowd([])), 3).startswith("<svg")
    assert [one.attributes["class"] for one in mapped(Crowd(["small"])).shapes if one.tag == "circle"] == [
        "track",
        "peer",
    ]
    crowd = Crowd(["small"] * 90)
    claims = [crowd.say(number, f"{number:08x}", 0.2) for number in range(10)]
    for number in range(50, 90):
        for key, about in enumerate(claims):
            crowd.say(number, f"{key:08x}", 0.2, about)
    shown = mapped(crowd)
    assert (shown.peers, shown.earlier) == (10, 100)
    assert len(shown.steps) == adoption.MOST_STEPS
    assert [key.colour for key in shown.keys] == [*(f"c{number}" for number in range(8)), "c-rest"]
    assert len(arrows(adoption.svg(shown))) == 300
    assert len(msgspec.json.encode(shown)) < 300_000
    assert "100 earlier adoptions" in adoption.svg(shown)


def test_the_command_writes_the_map(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study")
    joined(folder / HOME, night())
    done = CliRunner().invoke(main, ["swarm", "board", "-C", str(folder), "--svg", str(tmp_path / "map.svg")])
    assert done.exit_code == 0, done.output
    assert "41 adoptions among 35 peers" in done.output
    assert len(arrows((tmp_path / "map.svg").read_text())) == 41
    done = CliRunner().invoke(main, ["swarm", "board", "-C", str(folder), "--svg", str(tmp_path / "no" / "map.svg")])
    assert done.exit_code == 2
    assert "map.svg: No such file or directory" in done.output
    assert BUDGET in CliRunner().invoke(main, ["swarm", "board", "-C", str(folder)]).output
