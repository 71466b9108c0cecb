"""Who says what when: turns, their stretches of the recording, and what is left out of both."""

import json

import numpy as np
import pytest
import soundfile

from mmpsy_jax.features import manifest, omissions, session
from mmpsy_jax.features.clip import Clip, Timeline
from mmpsy_jax.features.dialogue import Omit, Take, converse, union, without
from mmpsy_jax.features.manifest import Entry, Part
from mmpsy_jax.features.recording import Level
from mmpsy_jax.features.script_lines import Line, Script
from mmpsy_jax.features.session import Reading
from mmpsy_jax.io import InputError

RATE = 8000


def lines(*rows, words=False):
    return Script(lines=tuple(Line(text, start, end, who) for who, start, end, text in rows), words=words, is_file=True)


TALK = lines(
    ("Ellie", 0, 2, "hello there"),
    ("Pat", 2, 3, "hi"),
    ("Pat", 4, 6, "and more"),
    ("Ellie", 6, 8, "how often were you bothered by sleep"),
    ("Pat", 8, 9, "every day"),
    ("Ellie", 9, 10, "go on"),
    ("Pat", 10, 12, "that is all"),
)


def talk(omit=Omit(), script=TALK, speaker="pat", **take):  # noqa: B008  it is frozen
    return converse([Take(script, **{"heard": True, "seconds": 12.0, **take})], speaker, omit)


def test_a_turn_reaches_from_its_first_line_to_its_last():
    both = talk()
    assert both.participant.answers == ("hi", "and more", "every day", "that is all")
    assert both.participant.stretches == ((2, 6), (8, 9), (10, 12)) and both.participant.turns == 3
    assert both.interviewer.answers[-1] == "go on" and both.interviewer.stretches == ((0, 2), (6, 8), (9, 10))
    assert both.interviewer.turns == 3 and (both.omitted_s, both.omitted_characters) == (0, 0)
    shuffled = Script(lines=TALK.lines[::-1])  # tiers of one speaker each come in any order
    assert talk(script=shuffled).participant == both.participant
    assert talk(heard=False).participant.stretches is None


def test_speech_of_others_inside_a_turn_is_noted_with_its_seconds():
    both = talk(script=lines(("Pat", 0, 5, "a"), ("Ellie", 2, 3.5, "mhm"), ("Pat", 5, 6, "b")))
    assert both.participant.stretches == ((0, 6),) and both.interviewer.stretches == ((2, 3.5),)
    assert both.participant.notes == ("others speak during 1.5 s of the participant's turns",)


def test_nobody_of_that_name():
    with pytest.raises(InputError) as raised:
        talk(speaker="participant")
    message = str(raised.value)
    assert "none of its 2 speakers is called 'participant'" in message and "Ellie (3), Pat (3)" in message
    assert "hello" not in message and "--speaker" in message


def test_times_after_the_end_of_the_recording():
    with pytest.raises(InputError, match=r"it has words at 10\.0 s, but the recording ends at 8\.0 s"):
        talk(seconds=8.0)
    assert talk(seconds=10.5).participant.notes == ("the last row ends 1.5 s after the recording",)
    assert talk(seconds=10.5).participant.stretches[-1] == (10, 10.5)


def test_what_is_left_out_by_phrase_takes_the_next_turn_along():
    both = talk(Omit(phrases=("Often  were you BOTHERED",)))
    assert both.participant.answers == ("hi", "and more", "that is all")
    assert both.participant.stretches == ((2, 6), (10, 12)) and both.participant.turns == 2
    assert both.interviewer.answers == ("hello there", "go on") and both.interviewer.stretches == ((0, 2), (9, 10))
    assert both.omitted_s == 1 and both.omitted_characters == len("every day")
    mine = talk(Omit(phrases=("and more",)))  # the participant's own words: that turn alone
    assert mine.participant.answers == ("every day", "that is all") and mine.omitted_s == 4
    assert len(mine.interviewer.answers) == 3


def test_what_is_left_out_by_time_and_by_question():
    both = converse([Take(TALK, heard=True, seconds=12.0, omit=((3.5, 8.25),))], "pat")
    assert both.participant.answers == ("hi", "every day", "that is all")
    assert both.participant.stretches == ((2, 3.5), (8.25, 9), (10, 12)) and both.omitted_s == 2.75
    numbered = talk(Omit(questions=(1, 4)))
    assert numbered.participant.answers == ("and more", "every day") and numbered.participant.questions == (2, 3)
    assert numbered.participant.stretches == ((3, 6), (8, 9)) and len(numbered.interviewer.answers) == 3
    alone = Script(lines=(Line("a", 1, 2), Line("b", 3, 5)))  # nobody is named: all the sound but that answer
    assert talk(Omit(questions=(2,)), alone).participant.stretches == ((0, 3), (5, 12))
    untimed = Script(lines=(Line("a"), Line("b")))
    with pytest.raises(InputError, match="has no times: give the transcript start and end, or a recording for each"):
        talk(Omit(questions=(2,)), untimed)
    assert talk(Omit(questions=(2,)), untimed, heard=False).participant.answers == ("a",)


def test_words_of_a_turn_that_is_left_out_leave_no_crumbs_of_sound():
    script = lines(
        ("A", 0, 1, "one"),
        ("B", 1, 2, "how"),
        ("B", 2.5, 3, "bad"),
        ("A", 4, 5, "very"),
        ("A", 6, 7, "bad"),
        words=True,
    )
    both = talk(Omit(phrases=("how bad",)), script, "a")
    assert both.participant.answers == ("one",) and both.participant.stretches == ((0, 1),)


def test_stretches():
    assert union([(3, 4), (0, 1), (1, 2), (5, 5)]) == [(0, 2), (3, 4)]
    assert without([(0, 10)], [(2, 3), (9, 12)]) == [(0, 2), (3, 9)]
    timeline = Timeline([(2, 4), (6, 10)])
    np.testing.assert_allclose(timeline.joined(np.array([0, 2, 3, 5, 6, 9, 99.0])), [0, 0, 1, 2, 2, 5, 6])
    np.testing.assert_allclose(timeline.source(np.array([0, 1.5, 2, 5.0])), [2, 3.5, 6, 9])


def test_a_clip_is_the_stretches_of_its_recording_whatever_the_blocks(tmp_path):
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (70 * RATE, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    spans = ((1.0, 2.0), (29.5, 30.5), (31.0, 65.25), (69.0, 80.0))
    level = Level()
    heard = np.concatenate(list(Clip(tmp_path / "a.wav", spans, 2).samples(RATE, level)))
    expected = np.concatenate([sound[round(a * RATE) : round(b * RATE), 1] for a, b in spans])
    np.testing.assert_array_equal(heard, expected)
    assert level.seconds == 70
    whole, part = Clip(tmp_path / "a.wav"), Clip(tmp_path / "a.wav", spans)
    assert len({whole.sha256(), part.sha256(), Clip(tmp_path / "a.wav", spans, 2).sha256()}) == 3


def tone(path, seconds, channels=1):
    wave = 0.2 * np.sin(np.arange(round(seconds * RATE)) / 5)
    soundfile.write(path, np.stack([wave * (k + 1) for k in range(channels)], axis=1), RATE)


def test_times_of_parts_begin_anew(tmp_path):
    for k, seconds in ((1, 10.0), (2, 6.0), (3, 4.0)):
        tone(tmp_path / f"{k}.wav", seconds)
    head = "text,start,end,speaker\n"
    (tmp_path / "1.csv").write_text(f"{head}ask,0,2,D\nwell,2,5,P\n")
    (tmp_path / "2.csv").write_text(f"{head}so,0,1,P\nask,1,3,D\nno,3,6,P\n")
    (tmp_path / "3.txt").write_text("a plain\nanswer")
    parts = [
        {"recording": "1.wav", "transcript": "1.csv"},
        {"recording": "2.wav", "transcript": "2.csv", "shift_s": -0.5, "omit": [[4.5, 5]]},
        {"recording": "3.wav", "transcript": "3.txt", "question": 9},
    ]
    (tmp_path / "m.jsonl").write_text(json.dumps({"participant": "p", "speaker": "P", "parts": parts}))
    (entry,) = manifest.read(tmp_path / "m.jsonl").entries
    assert entry.parts[1] == Part(tmp_path / "2.wav", tmp_path / "2.csv", -0.5, ((4.5, 5.0),))
    both = session.read(entry)
    words = both.participant.transcript
    assert words.answers == ("well", "so", "no", "a plain answer") and words.questions == (1, 2, 3, 9)
    assert words.stretches == ((2, 5), (10, 10.5), (12.5, 14.5), (15, 15.5), (16, 20))
    assert words.times[0] == 2 and words.times[words.text.index("so")] == 10 and len(words.times) == len(words.text)
    clips = [(clip.path.name, clip.stretches) for clip in both.participant.recordings]
    assert clips == [("1.wav", ((2, 5),)), ("2.wav", ((0, 0.5), (2.5, 4.5), (5, 5.5))), ("3.wav", ((0, 4),))]
    assert [clip.stretches for clip in both.interviewer.recordings] == [((0, 2),), ((0.5, 2.5),)]
    assert entry.words().answers == ("well", "so", "no", "a plain answer")


def test_a_speaker_per_channel(tmp_path):
    tone(tmp_path / "a.wav", 4.0, channels=2)
    (tmp_path / "m.csv").write_text("participant,recording,channel\np,a.wav,2\nq,a.wav,\n")
    p, q = manifest.read(tmp_path / "m.csv").entries
    both = session.read(p)
    assert both.participant.recordings == [Clip(tmp_path / "a.wav", None, 2)]
    assert both.interviewer.recordings == [Clip(tmp_path / "a.wav", None, 1)]
    assert session.read(q).participant.recordings == [tmp_path / "a.wav"]
    (tmp_path / "m.csv").write_text("participant,recording,channel\np,a.wav,3\n")
    with pytest.raises(InputError, match="line 2: channel is no whole number from 0 to 2"):
        manifest.read(tmp_path / "m.csv")


def test_an_answer_goes_with_its_recording(tmp_path):
    for k in (1, 2, 10):
        tone(tmp_path / f"{k}.wav", 1.0)
    entry = Entry("p", tmp_path, text="one\ntwo\nthree", omit=Omit(questions=(2,)))
    both = session.read(entry)
    assert [str(clip.path.name) for clip in both.participant.recordings] == ["1.wav", "10.wav"]
    assert both.participant.transcript.answers == ("one", "three") and both.omitted_s == 1
    with pytest.raises(InputError, match="nothing of it is left"):
        session.read(Entry("p", tmp_path / "1.wav", omit=Omit(stretches=((0, 9),))))


def test_options_and_cells(tmp_path):
    (tmp_path / "p.txt").write_text("  How Often \n\nlittle interest\n")
    (tmp_path / "s.csv").write_text("participant,start,end\np,1,2.5\np,4,5\n")
    read = omissions.read_option(f"8, 9.0,{tmp_path / 'p.txt'},{tmp_path / 's.csv'}")
    assert read.omit == Omit((8, 9), ("how often", "little interest")) and read.stretches == {"p": ((1, 2.5), (4, 5))}
    assert "p" not in json.dumps(read.card()["stretches_sha256"])[1:-1].split() and read.card()["questions"] == [8, 9]
    assert Reading.of_card(json.loads(json.dumps(Reading("Pat", read.omit).card()))) == Reading("Pat", read.omit)
    with pytest.raises(InputError, match="1 of 1 participants are unknown, such as p"):
        read.require_known(["q"])
    assert omissions.read_cell("m", "3; 395-428, 7 1.5-2") == Omit((3, 7), (), ((395, 428), (1.5, 2)))
    (tmp_path / "short.txt").write_text("no\n")
    for text, reason in (
        ("eight", "give numbers of questions"),
        (str(tmp_path / "short.txt"), "1 of them of fewer than 4 characters"),
        (str(tmp_path / "absent.txt"), "cannot be read"),
    ):
        with pytest.raises(InputError, match=reason):
            omissions.read_option(text)
    for cell, reason in (("5-5", "ends after it starts"), ("x-1", "a stretch is two numbers"), ("x", "a question is")):
        with pytest.raises(InputError, match=reason):
            omissions.read_cell("m", cell)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ("all", "parts: not JSON"),
        ([], "parts must be a list of objects"),
        ([{}], "part 1: has neither recording nor transcript"),
        ([{"recording": "a.wav", "shift": 1}], "part 1: field 'shift'"),
        ([{"recording": "a.wav", "shift_s": "1"}], "shift_s is no number"),
        ([{"recording": "a.wav", "omit": [[2, 1]]}], "ends after it starts"),
        ([{"recording": "a.wav", "omit": [3]}], "a stretch is two numbers"),
        ([{"recording": "a.wav", "question": -1}], "question is no whole number"),
    ],
)
def test_bad_parts(tmp_path, parts, reason):
    (tmp_path / "m.jsonl").write_text(json.dumps({"participant": "p", "parts": parts}))
    with pytest.raises(InputError, match=reason):
        manifest.read(tmp_path / "m.jsonl")
