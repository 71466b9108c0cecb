"""Sound through a trained Whisper and words through a trained BERT, by `embed` and `build`, into one corpus."""

import csv
import json

import numpy as np
import pytest
import soundfile

from mmpsy_jax.data.records import open_corpus

pytestmark = pytest.mark.real


def test_a_corpus_with_embeddings_of_both(assets, launch, bert_folder, whisper_folder, utterances, tmp_path):
    with open(tmp_path / "manifest.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["participant", "recording", "text", "label:score"])
        for number, (samples, words) in enumerate(utterances):
            soundfile.write(tmp_path / f"u{number}.wav", samples, 16_000)
            writer.writerow([f"u{number}", f"u{number}.wav", words, number])
    manifest = f"--input={tmp_path / 'manifest.csv'}"
    launch("embed", manifest, f"--encoder={bert_folder}", f"--output={tmp_path / 'words'}")
    launch("embed", manifest, f"--encoder={whisper_folder}", f"--output={tmp_path / 'sound'}")
    settings = {
        "audio": {"name": "speech_embeddings", "folder": str(tmp_path / "sound"), "window_seconds": 10},
        "text": {"name": "token_embeddings", "folder": str(tmp_path / "words")},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    launch(
        "build", "--dataset=interviews/utterances", f"--source={tmp_path / 'manifest.csv'}",
        f"--data_dir={tmp_path / 'data'}", f"--settings={tmp_path / 'settings.json'}",
    )  # fmt: skip
    corpus = open_corpus(tmp_path / "data" / "interviews" / "utterances")
    assert len(corpus) == 5 and corpus.card["modalities"].keys() == {"audio", "text"}
    for place in range(5):
        record = corpus.read(place)
        samples, words = utterances[int(record["score"])]
        seconds = len(samples) / 16_000
        frames, tokens = int(record["audio_length"][0]), int(record["text_length"][0])
        print(f"{seconds:.2f} s: {frames} frames of 200 ms, {len(words.split())} words: {tokens} tokens")
        assert record["audio"].shape[-1] == record["text"].shape[-1] == 384  # both networks are that wide
        assert abs(frames - 5 * seconds) <= 1
        assert tokens >= len(words.split()) + 2
        for name, count in (("audio", frames), ("text", tokens)):
            valid = np.asarray(record[name][0][:count], np.float32)
            assert np.isfinite(valid).all() and valid.std() > 0.1
