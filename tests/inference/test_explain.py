"""Explanations: methods against formulas and shorter interviews, files, bad input. All data is SYNTHETIC."""

import csv
import dataclasses
import json
import types

import jax
import numpy as np
import pytest
from scipy.integrate import trapezoid

import launch
from mmpsy_jax.data.records import open_corpus
from mmpsy_jax.inference import explain_methods as methods
from mmpsy_jax.inference.explain import explain, report_of, views
from mmpsy_jax.inference.explain_page import spectrum
from mmpsy_jax.inference.inputs import corpus_of, empty_record
from mmpsy_jax.io import InputError
from mmpsy_jax.training import finished_run
from tests.browser import PHONE, needs_browser, visit


def randomised(model, fixed=()):
    """A run whose parameters are random, so that every path counts, but for those of some names: they are zero."""
    rng = np.random.default_rng(0)

    def draw(path, value):
        names = {key.key for key in path}
        return np.zeros_like(value) if names & set(fixed) else rng.normal(0, 0.3, value.shape).astype(value.dtype)

    def renewed(one):
        network = jax.tree_util.tree_map_with_path(draw, one.inference_params["params"]["network"])
        params = {**one.inference_params["params"], "network": network}
        return dataclasses.replace(one, inference_params={**one.inference_params, "params": params})

    return dataclasses.replace(model, trainings=tuple(map(renewed, model.trainings)))


def made_of(of, task, i=0, fixed=()):
    """The run, the record of participant `i`, and its explanation."""
    built, workdir = of
    run, corpus = randomised(finished_run.load(workdir), fixed), open_corpus(built)
    record = corpus.read(i)
    alone = corpus_of(["p"], [record], run.modalities, run.card)
    chosen = next(one for one in run.tasks if one.name == task)
    return run, record, methods.Explained(views(run, alone), chosen)


@pytest.fixture(scope="module")
def spoken(heard):
    """An interview of several windows with both modalities, one training."""
    corpus = open_corpus(heard[0])
    return made_of(heard, "phq_screen", int(np.argmax(corpus.n_windows * corpus.has["text"])))


@pytest.fixture(scope="module")
def written(texts):
    """A transcript, two trainings."""
    return made_of(texts[1:], "phq_score", 3)


def test_units_cover_every_token_once(spoken, written):
    _, record, explained = spoken
    audio = [unit for unit in explained.units if unit.modality == "audio"]
    # 60 frames a token at 30 frames a second; windows of 60 s overlap by 10 s.
    ends = record["window_start_s"] + np.ceil(record["audio_length"] / 60) * 2
    assert [unit.start for unit in audio] == np.arange(0, ends.max(), 2).tolist()
    assert {unit.end - unit.start for unit in audio} == {2.0}
    _, record, explained = written
    tokens = record["text_length"].sum()
    assert [explained.units[0].start, explained.units[-1].end] == [0, tokens] and len(explained.units) <= 100
    assert all(a.end == b.start for a, b in zip(explained.units, explained.units[1:], strict=False))


def test_attention_adds_up_to_one(spoken, written):
    for _, _, explained in (spoken, written):
        weights = explained.attention()
        assert (weights > 0).all()
        np.testing.assert_allclose(weights.sum(), 1.0, atol=1e-5)


def said(run, record, task):
    corpus = corpus_of(["p"], [record], run.modalities, run.card)
    return run.predict(corpus, np.arange(1))[0][task].mean()


@pytest.mark.parametrize("name", ["audio", "text"])
def test_hiding_the_end_is_a_shorter_interview(spoken, name):
    run, record, explained = spoken
    # Only the last window of text and the last seconds of audio are in one place each.
    last = int(np.flatnonzero(record[f"{name}_length"])[-1])
    own = [i for i, unit in enumerate(explained.units) if unit.modality == name]
    if name == "audio":
        kept = 30.0 * np.round(0.5 * record["audio_length"][last] / 60) * 2
        start = record["window_start_s"][last] + kept / 30
        shorter = {"audio_length": np.where(np.arange(last + 1) == last, kept, record["audio_length"][: last + 1])}
    else:
        kept = record["text_length"][last] // 2
        start = record["text_length"][:last].sum() + kept
        shorter = {"text_length": np.where(np.arange(len(record["text_length"])) == last, kept, record["text_length"])}
    keep = np.ones((1, len(explained.units)), bool)
    keep[0, [i for i in own if explained.units[i].start >= start]] = False
    shorter = {key: value.astype(np.int32) for key, value in shorter.items()}
    expected = said(run, {**record, **shorter}, "phq_screen")
    np.testing.assert_allclose(explained.values(keep)[0], expected, atol=1e-6)
    assert abs(expected - explained.whole) > 1e-5


def test_occlusion_is_the_difference_to_one_unit_hidden(written):
    _, _, explained = written
    one = len(explained.units) // 2
    keep = np.ones((1, len(explained.units)), bool)
    keep[0, one] = False
    np.testing.assert_allclose(explained.occlusion()[one], explained.whole - explained.values(keep)[0], atol=1e-7)


def bag(ids, idf):
    """Weight of each occurrence in the bag of n-grams of docs/mental_perceiver.md: sublinear TF-IDF of length one."""
    used, counts = np.unique(ids[ids > 0], return_counts=True)
    value = (1 + np.log(counts)) * idf[used]
    weight = np.zeros(len(idf))
    weight[used] = value / np.linalg.norm(value) / counts
    return weight[ids]


def test_integrated_gradients_of_a_linear_path_are_its_terms(texts):
    # Without the readout of the latents a band's logit is linear in the bag; a score is that logit times its maximum.
    run, record, explained = made_of(texts[1:], "phq_score", 3, fixed=("readout",))
    ids = record["text"].reshape(-1, 4)
    expected = np.zeros(len(ids))
    for one in run.trainings:
        params, fitted = one.inference_params["params"]["network"], one.inference_params["fitted"]["network"]
        weights = bag(ids, fitted["text_adapter"]["idf"])
        read = params["text_adapter"]["embedding"] @ params["pooled_readout"][0, -1]  # scores come last
        expected += 27 * (weights * read[ids]).sum(axis=1) / 2
    got, difference = explained.integrated_gradients(), explained.from_zero()
    for unit, value in zip(explained.units, got, strict=True):
        np.testing.assert_allclose(value, expected[int(unit.start) : int(unit.end)].sum(), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(got.sum(), difference, rtol=1e-3)


def test_integrated_gradients_add_up(spoken):
    _, _, explained = spoken
    got, difference = explained.integrated_gradients(), explained.from_zero()
    assert abs(difference) > 1e-3
    np.testing.assert_allclose(got.sum(), difference, rtol=0.02)


def test_deletion_of_an_additive_value():
    rng = np.random.default_rng(1)
    effects = rng.normal(size=40)
    if effects.sum() < 0:
        effects = -effects
    for sign in (1, -1):
        ours = sign * effects
        explained = types.SimpleNamespace(
            units=list(range(40)), values=lambda keep, e=ours: 3 + keep @ e, whole=3 + ours.sum(), nothing=3.0
        )
        curve = methods.deletion(explained, {"occlusion": ours, "integrated_gradients": -ours})
        # The largest effects in the direction of the whole go first: 4 of 40 at each step.
        left = [3 + ours.sum() - (sign * np.sort(effects)[::-1][: 4 * k]).sum() for k in range(11)]
        np.testing.assert_allclose(curve.curves["occlusion"], left, atol=1e-9)
        areas = trapezoid(curve.random, curve.fractions, axis=1)
        gain = sign * (areas.mean() - trapezoid(left, curve.fractions))
        np.testing.assert_allclose(curve.gain["occlusion"], gain)
        assert curve.p == {"occlusion": 0.05, "integrated_gradients": 1.0} and curve.gain["integrated_gradients"] < 0
        assert curve.random.shape == (19, 11) and np.ptp(areas) > 0


def test_windows_of_a_recording_become_one_picture():
    rng = np.random.default_rng(0)
    line = rng.normal(size=(3, 2400)).astype(np.float32)
    record = {"window_start_s": np.array([0, 50]), "audio_length": np.array([1800, 900])}
    record["audio"] = np.stack([line[:, :1800], np.pad(line[:, 1500:], [(0, 0), (0, 900)], constant_values=9)])
    made = spectrum(record, "audio", 30.0)
    assert made.seconds == 2400 / 30 and made.values.shape == (3, 1200)
    np.testing.assert_allclose(made.values[:, :6], [[row[2 * i : 2 * i + 2].mean() for i in range(6)] for row in line])


WORDS = "秘密一二三\n四五六七八九十\n"


@pytest.fixture(scope="module")
def page(texts, tmp_path_factory):
    """The output for a transcript of two participants, with its words, and what was printed."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "in").mkdir()
    for name in ("=a", "b"):
        (folder / "in" / f"{name}.txt").write_text(WORDS)
    flags = [f"--workdir={texts[2]}", f"--input={folder / 'in'}", f"--output={folder / 'out'}", "--participant==a"]
    assert launch.main(["explain", *flags, "--show_text"]) == 0
    return folder / "out"


def test_files_of_an_explanation(page):
    report = json.loads((page / "explanation.json").read_text())
    rows = list(csv.DictReader((page / "attributions.csv").read_text().splitlines()))
    assert {row["participant_id"] for row in rows} == {"'=a"} and {row["modality"] for row in rows} == {"text"}
    values = {name: [float(r["value"]) for r in rows if r["method"] == name] for name in methods.METHODS}
    assert {len(v) for v in values.values()} == {report["units"]["text"]} == {len(WORDS.strip())}
    for name, made in values.items():
        np.testing.assert_allclose(sum(made), report["sums"][name]["text"])
    assert report["trainings"] == 2 and "not a diagnostic device" in report["what"]
    assert rows[3]["start_token"] == "3" and rows[3]["end_token"] == "4" and rows[3]["start_s"] == ""
    html = (page / "explanation.html").read_text()
    for text in ("not a diagnostic device", "aligned only proportionally", "Attention is not explanation", "秘</span>"):
        assert text in html
    assert "秘" not in (page / "explanation.json").read_text() + (page / "attributions.csv").read_text()


def test_words_are_shown_only_when_asked_for(texts, tmp_path, capfd):
    (tmp_path / "a.txt").write_text(WORDS)
    explain(texts[2], tmp_path / "a.txt", tmp_path / "out", task="phq_screen")
    assert "秘" not in (tmp_path / "out" / "explanation.html").read_text() and "秘" not in "".join(capfd.readouterr())


def test_records_have_a_picture_of_the_recording(heard, tmp_path):
    explain(heard[1], heard[0], tmp_path, participant=open_corpus(heard[0]).participants[5])
    html = (tmp_path / "explanation.html").read_text()
    assert "SYNTHETIC DATA" in html and "data:image/png;base64" in html and html.count("<figure") == 3


@needs_browser
def test_the_page_in_a_browser(page, tmp_path):
    measured, console, asked = visit(tmp_path, (page / "explanation.html").read_text(), PHONE)
    assert console == [] and asked == set()
    assert measured["scrolls"] == PHONE and measured["out"] == [] and measured["pictures"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": "gad_screen"},
            "unknown task 'gad_screen' .*'phq_screen'.*: choose one of: phq_bands, phq_score, phq_s",
        ),
        ({"participant": "c"}, "no participant 'c' among the 2 that can be read: choose one of: a, b"),
        ({}, "holds 2 participants, one is explained: give --participant=ID: choose one of: a, b"),
        ({"participant": "a", "modalities": ("video",)}, "unknown modality 'video': choose one of: text"),
        ({"source": "records"}, r"holds 40 participants, one is explained: give --participant=ID$"),
        ({"source": "records", "participant": "user_1", "show_text": True}, "no transcript is read from it"),
        ({"source": "absent"}, "no such file or folder"),
        ({"source": "empty.txt"}, "empty: the transcript is empty"),
        ({"output": "a.txt"}, "is a file: give a folder"),
        ({"workdir": "."}, "no config.json, so no finished run"),
    ],
)
def test_bad_input(texts, tmp_path, options, message):
    given = tmp_path / "in"
    given.mkdir()
    for name in ("a", "b"):
        (given / f"{name}.txt").write_text(WORDS)
    (tmp_path / "empty.txt").write_text("\n")
    named = {"records": texts[1], "a.txt": given / "a.txt", ".": tmp_path}
    paths = {
        key: named.get(value, tmp_path / value)
        for key, value in options.items()
        if key in ("source", "output", "workdir")
    }
    arguments = {"workdir": texts[2], "source": given, "output": tmp_path / "out", **options, **paths}
    with pytest.raises(InputError, match=message):
        explain(**arguments)
    assert not (tmp_path / "out").exists()


def test_an_interview_in_which_nothing_is(texts):
    run = finished_run.load(texts[2])
    nobody = corpus_of(["p"], [empty_record()], run.modalities, run.card)
    with pytest.raises(InputError, match=r"holds nothing of what the run reads \(text\)"):
        report_of(run, nobody, run.tasks[0], ("text",))
