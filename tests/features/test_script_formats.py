"""Transcripts as recognisers and annotation tools write them, with made-up content; files of which nothing is right."""

import json

import pytest

from mmpsy_jax.features import script, script_formats
from mmpsy_jax.features.manifest import Entry
from mmpsy_jax.features.script_lines import Line
from mmpsy_jax.io import InputError

ASK, ANSWER = Line("how are you", 0, 1.5, "Ellie"), Line("fine & well", 2, 3.5, "Pat")
WHISPER = {
    "text": "how are you fine & well",
    "segments": [
        {"id": 0, "start": 0.0, "end": 1.5, "text": " how are you", "speaker": "Ellie"},
        {"id": 1, "start": 2, "end": 3.5, "text": "fine & well ", "speaker": "Pat", "words": []},
    ],
    "language": "en",
}
WORDS = [  # of whisperX, where one word of the second speaker has no times
    {"word": "how", "start": 0.0, "end": 0.4, "speaker": "Ellie"},
    {"word": "are", "start": 0.4, "end": 1.0},
    {"word": "you", "start": 1.0, "end": 1.5, "speaker": "Ellie"},
    {"word": "fine", "start": 2.0, "end": 2.5, "score": 0.9, "speaker": "Pat"},
    {"word": "&"},
    {"word": "well", "start": 3.0, "end": 3.5, "speaker": "Pat"},
]
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Pat"
        xmin = 0
        xmax = 5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 2
            text = ""
        intervals [2]:
            xmin = 2
            xmax = 3.5
            text = "fine
& well"
    item [2]:
        class = "IntervalTier"
        name = "Ellie"
        xmin = 0
        xmax = 5
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1.5
            text = "how are you"
    item [3]:
        class = "TextTier"
        name = "coughs"
        xmin = 0
        xmax = 5
        points: size = 1
        points [1]:
            number = 2.5
            mark = "loud"
"""
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1500"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="2000"/><TIME_SLOT TIME_SLOT_ID="ts4"/>
<TIME_SLOT TIME_SLOT_ID="ts5" TIME_VALUE="5000"/>
</TIME_ORDER>
<TIER LINGUISTIC_TYPE_REF="t" PARTICIPANT="Pat" TIER_ID="A">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>fine &amp; well</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts4" TIME_SLOT_REF2="ts5">
<ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER LINGUISTIC_TYPE_REF="t" TIER_ID="Ellie">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>how are you</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER LINGUISTIC_TYPE_REF="s" PARENT_REF="A" TIER_ID="gloss">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
<ANNOTATION_VALUE>translated</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER>
</ANNOTATION_DOCUMENT>
"""
CHAT = """@UTF8
@Begin
@Languages:\teng
@Participants:\tPat Participant, Ellie Investigator
@ID:\teng|x|Pat|63;|female|||Participant|||
@ID:\teng|x|Ellie|||||Investigator|||
*Ellie:\thow are you ? \x150_1500\x15
*Pat:\tfine fine [/] well (.) I <am> [//] gonna [: going to] cry +... \x152000_3500\x15
%mor:\tsome .
@End
"""
RANGES = "00:00-00:01\nEllie：how are you\n0:00:02 - 0:00:03.5 Pat: fine\n& well\n\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", json.dumps(WHISPER)),
        ("a.JSON", json.dumps({"segments": [{"start": 0, "end": 3.5, "text": "all", "words": WORDS}]})),
        ("a.TextGrid", TEXTGRID),
        ("a.eaf", EAF),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_who_says_what_when(tmp_path, name, content, encoding):
    if encoding == "utf-16" and name != "a.TextGrid":
        pytest.skip("only Praat saves in UTF-16")
    (tmp_path / name).write_text(content, encoding)
    assert script.read(tmp_path / name).lines == (ASK, ANSWER)


def test_an_utterance_in_chat_is_what_was_meant(tmp_path):
    (tmp_path / "a.cha").write_text(CHAT)
    ask, answer = script.read(tmp_path / "a.cha").lines
    assert ask == Line("how are you?", 0, 1.5, "Ellie")
    assert answer == Line("fine well I going to cry", 2, 3.5, "Pat")


def test_lines_of_times_in_a_text(tmp_path):
    (tmp_path / "a.txt").write_text(RANGES, "utf-8")
    assert script.read(tmp_path / "a.txt").lines == (Line("how are you", 0, 1, "Ellie"), ANSWER)
    (tmp_path / "a.txt").write_text("[01:05–01:07]\n睡得\n不好\n65:10-66:00\n医生：好\n患者：没有\n", "utf-8")
    assert script.read(tmp_path / "a.txt").lines == (
        Line("睡得不好", 65, 67),
        Line("好", 3910, 3960, "医生"),
        Line("没有", 3910, 3960, "患者"),
    )
    (tmp_path / "a.txt").write_text("I slept from\n10:00-12:00\n")  # an answer a line
    assert script.read(tmp_path / "a.txt").is_plain


def test_a_textgrid_is_read_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.TextGrid"
    body = TEXTGRID.partition("item []:")[2]
    values = script_formats._VALUE.findall(body)
    path.write_text(
        "\n".join(['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", "5", "<exists>", "3", *values])
    )
    assert script.read(path).lines == (ASK, ANSWER)  # the short form
    for end in range(0, TEXTGRID.rindex('"loud"'), 7):
        path.write_text(TEXTGRID[:end])
        with pytest.raises(InputError, match="no TextGrid, or cut short"):
            script.read(path)


def test_words_of_a_forced_aligner(tmp_path):
    single = TEXTGRID.replace('"Pat"', '"words"').replace('"Ellie"', '"phones"')
    (tmp_path / "a.TextGrid").write_text(single)
    made = script.read(tmp_path / "a.TextGrid")
    assert made.words and made.lines == (Line("fine & well", 2, 3.5),)
    both = TEXTGRID.replace('"Pat"', '"Pat - words"').replace('"Ellie"', '"Ellie - words"')
    (tmp_path / "a.TextGrid").write_text(both)
    assert script.read(tmp_path / "a.TextGrid").lines == (ASK, ANSWER)


def test_a_transcript_of_whisper_is_told_from_a_table(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(WHISPER))
    (tmp_path / "b.json").write_text("[]")
    assert script.is_json_transcript(tmp_path / "a.json") and not script.is_json_transcript(tmp_path / "b.json")


def test_a_folder_of_such_files_is_read_in_their_order(tmp_path):
    for k in (10, 9):
        (tmp_path / f"{k}.TextGrid").write_text(TEXTGRID.replace("how are you", f"question {k}"))
    entry = Entry("p", transcript=tmp_path, speaker="Ellie")
    assert entry.words().answers == ("question 9", "question 10")
    (tmp_path / "9.srt").write_text("")
    with pytest.raises(InputError, match="two transcripts differ in their suffix alone"):
        entry.words()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", "[]", "no transcript of Whisper: it must be an object with segments"),
        ("a.json", '{"segments": [{"start": 0, "end": 1, "text": 3}]}', "segment 1: text and speaker must be strings"),
        ("a.json", '{"segments": [{"start": "secret", "end": 1, "text": "secret"}]}', "segment 1: a time is no number"),
        ("a.json", '{"segments": [{"start": 2, "end": 1, "text": "secret"}]}', "segment 1: ends before it starts"),
        ("a.TextGrid", "", "no TextGrid, or cut short"),
        ("a.TextGrid", TEXTGRID.replace("how", "secret")[:560], "no TextGrid, or cut short"),
        ("a.TextGrid", TEXTGRID.replace("IntervalTier", "TextTier"), "no TextGrid"),
        ("a.eaf", "<secret", "no file of ELAN"),
        ("a.eaf", "<secret/>", "no file of ELAN: give one that ELAN saved"),
        ("a.eaf", EAF.replace("ALIGNABLE", "OTHER"), "holds no annotation with times"),
        ("a.eaf", EAF.replace('"1500"', '"x"').replace('"ts2">', '"ts9">'), "an annotation has no times"),
        ("a.cha", "secret\n", "holds no utterance in CHAT"),
        ("a.cha", CHAT.replace("2000_3500", "3500_2000"), "not in CHAT"),
        ("a.txt", "00:05-00:01\nsecret\n", "line 1: ends before it starts"),
    ],
)
def test_bad_files_get_a_reason_without_their_words(tmp_path, name, content, reason):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=reason) as raised:
        script.read(tmp_path / name)
    assert str(tmp_path / name) in str(raised.value) and "secret" not in str(raised.value)
