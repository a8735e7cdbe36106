"""Profiles: whose film an answer is about, one session at a time, and files as they were."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from test_matching import FILMS, INDEX

from recsys_rl.command.cells import _argv
from recsys_rl.command.errors import CommandError
from recsys_rl.command.profiles import Answer, held, read_profile, write_profile

if not hasattr(os, "mkfifo"):
    pytest.skip("no pipes with names", allow_module_level=True)

ROOT = Path(__file__).parent.parent
HOLD = """
import sys, time
from pathlib import Path
from recsys_rl.command.profiles import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def me(tmp_path: Path) -> Path:
    return tmp_path / "me.json"


def save(path: Path, *rows: dict, **more: object) -> None:
    path.write_text(json.dumps({"format": 1, "dataset": "ml-1m", "answers": list(rows)} | more))


def row(item: object, title: str, year: object, answer: str = "like") -> dict:
    return {"id": item, "title": title, "year": year, "answer": answer}


# ----------------------------------------------------------------------------- whose film


def test_what_an_editor_has_saved_again_is_read(me):
    save(me, row(1, FILMS[1].title, FILMS[1].year))
    me.write_bytes(b"\xef\xbb\xbf" + me.read_bytes())
    found = read_profile(me, "ml-1m", INDEX)
    assert [answer.film.id for answer in found.answers] == [1]


@pytest.mark.parametrize("text", ["[]", "null", "{}", '{"format": 1, "answers": [1]}'])
def test_why_a_file_is_no_profile_is_said_in_words(me, text):
    me.write_text(text)
    with pytest.raises(CommandError, match=r"\(it holds no such answers\)"):
        read_profile(me, "ml-1m", INDEX)


def test_title_and_year_say_which_film_is_meant(me):
    matrix, psycho = FILMS[1], FILMS[8]
    save(
        me,
        row(1, matrix.title, matrix.year),
        row(1, psycho.title, psycho.year),  # the id of another film
        row(1, "No such film", 1995, "no"),
        row(99999, psycho.title, psycho.year),
    )
    found, others, _ = read_profile(me, "ml-1m", INDEX)
    assert [answer.film.id for answer in found] == [1, 8, 8]
    assert others == [row(None, "No such film", 1995, "no")]


@pytest.mark.parametrize(
    "content",
    [{"answers": {}}, {"answers": "abc"}, {"answers": [row(1, "x" * 5_000_000, 1995)]}],
    ids=["object", "text", "long"],
)
def test_what_is_no_list_of_answers_is_one_short_sentence(me, content):
    save(me, **content)
    with pytest.raises(CommandError, match="is not a profile that a session has kept") as caught:
        read_profile(me, "ml-1m", INDEX)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_pipes_and_devices_are_refused_at_once(me, tmp_path):
    os.mkfifo(me)
    for path in (me, Path("/dev/zero"), tmp_path):
        with pytest.raises(CommandError, match="is no regular file"):
            read_profile(path, "ml-1m", INDEX)


# ----------------------------------------------------------------------------- one at a time


def test_a_second_session_is_refused_until_the_first_is_killed(me, tmp_path):
    other = tmp_path / "link.json"
    other.symlink_to(me)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(me)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert first.stdout.readline() == "held\n"
        for path in (me, other):
            with pytest.raises(CommandError, match="another session is writing to"), held(path):
                pass
        with held(tmp_path / "somebody.json"):
            pass
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
        first.stdout.close()
    with held(me):
        pass
    assert not list(tmp_path.glob(".*"))


def test_where_no_lock_can_be_made_it_is_one_sentence(tmp_path):
    for path in (tmp_path / "no" / "me.json", Path("a\0b"), tmp_path / ("x" * 250)):
        with pytest.raises(CommandError, match="cannot be written"), held(path):
            pass
    with held(None):
        pass


# ----------------------------------------------------------------------------- files as they were


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_permissions_and_links_stay(me, tmp_path, mode):
    kept = tmp_path / "kept" / "mine.json"
    kept.parent.mkdir()
    me.symlink_to(kept)
    answers = [Answer(FILMS[1], "like")]
    write_profile(me, "ml-1m", answers)  # behind a link to nothing
    kept.chmod(mode)
    write_profile(me, "ml-1m", [*answers, Answer(FILMS[8], "no")])
    assert me.is_symlink()
    assert kept.stat().st_mode & 0o777 == mode
    assert [each["id"] for each in json.loads(kept.read_text())["answers"]] == [1, 8]
    assert sorted(path.name for path in kept.parent.iterdir()) == ["mine.json"]


def test_a_file_that_may_not_be_written_stays(me, monkeypatch):
    me.write_text("mine")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everything
    with pytest.raises(CommandError, match="cannot be written"):
        write_profile(me, "ml-1m", [])
    assert me.read_text() == "mine"


def test_what_others_have_written_into_it_stays(me):
    """Into an answer, beside the answers, and into one about a film of another data set."""
    mine = row(1, FILMS[1].title, FILMS[1].year) | {"note": "with Ada", "title ": 3}
    theirs = row(None, "No such film", 1995, "no") | {"note": "dull"}
    save(me, mine, theirs, owner="Bob Ünal", tags=["a", {"b": None}])
    answers, others, more = read_profile(me, "ml-1m", INDEX)
    write_profile(me, "ml-1m", [*answers, Answer(FILMS[8], "no")], others, more)
    kept = json.loads(me.read_text())
    assert (kept["owner"], kept["tags"]) == ("Bob Ünal", ["a", {"b": None}])
    assert kept["answers"][:2] == [theirs, mine]
    assert [each["id"] for each in kept["answers"]] == [None, 1, 8]


def test_half_of_a_character_is_kept(me):
    """As a program may write that cuts text, and in the name of a file that is no UTF-8."""
    save(me, row(1, FILMS[1].title, FILMS[1].year), note="cut \ud83d")
    answers, others, more = read_profile(me, "ml-1m", INDEX)
    write_profile(me, "films\udce9.csv", answers, others, more)
    kept = json.loads(me.read_text(encoding="utf-8"))
    assert (kept["note"], kept["dataset"]) == ("cut \ud83d", "films\udce9.csv")


def test_a_profile_is_not_written_that_could_not_be_read(me):
    with pytest.raises(CommandError, match="would have more than 4,194,304 bytes"):
        write_profile(me, "ml-1m", [], more={"note": "x" * 5_000_000})
    assert not me.exists()


# ----------------------------------------------------------------------------- in a notebook


def test_zero_is_a_value_and_none_is_not():
    options = {"seed": 0, "adventure": 0.0, "k": 0, "json": False, "year": None, "series": True}
    assert _argv((), options) == ["--seed=0", "--adventure=0.0", "--k=0", "--series"]


def test_a_format_that_only_looks_right_is_shown_as_it_is_written(me):
    me.write_text('{"format": "1", "dataset": "ml-1m", "answers": []}')
    with pytest.raises(CommandError, match="it has format '1', this program reads 1"):
        read_profile(me, "ml-1m", INDEX)
