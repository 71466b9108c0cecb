"""Tokenizers and feature extractors: what does not fit the network is refused when a folder is opened."""

import json

import numpy as np
import pytest
import transformers

from mmpsy_jax import encoders
from mmpsy_jax.encoders import processors, text
from mmpsy_jax.encoders.encode import encode
from mmpsy_jax.io import InputError
from tests.hugging_face import GOLDEN, edit, rewrite, write_bert, write_hubert, write_whisper

EXTRACTOR = "preprocessor_config.json"


def drop_words(folder):
    (folder / "vocab.txt").unlink()


def add_words(folder):
    path = folder / "vocab.txt"
    path.write_text(path.read_text() + "\n".join(f"word{number}" for number in range(40)) + "\n")


def drop_cls(folder):  # the tokenizer gives [CLS] an id of its own, behind all others
    path = folder / "vocab.txt"
    path.write_text(path.read_text().replace("[CLS]", "other"))


def damage(name, content=b"{"):
    return lambda folder: (folder / name).write_bytes(content)


TOKENIZERS = {
    "no words": (drop_words, "a tokenizer without words: copy vocab.txt"),
    "empty": (damage("vocab.txt", b""), "a tokenizer without words"),
    "more words": (add_words, "ids up to 69, the table of words only rows up to 29: copy the tokenizer of the same"),
    "no [CLS]": (drop_cls, "ids up to 30, the table of words only rows up to 29"),
    "no text": (damage("vocab.txt", b"\xff\xfe"), "no tokenizer .* that can be read"),
    "tokenizer.json": (damage("tokenizer.json"), "no tokenizer .* that can be read"),
    "tokenizer_config.json": (damage("tokenizer_config.json"), "no tokenizer .* that can be read"),
}


@pytest.mark.parametrize(("change", "words"), TOKENIZERS.values(), ids=TOKENIZERS)
def test_a_tokenizer_that_does_not_fit_is_refused(tmp_path, change, words):
    write_bert(tmp_path)
    assert processors.tokenizer(tmp_path, 30)("a b")["input_ids"] == [2, 5, 6, 3]
    change(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        processors.tokenizer(tmp_path, 30)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_ids_and_positions_beyond_the_tables_are_refused_in_every_text(tmp_path):
    bert = encoders.load(GOLDEN / "bert")
    ids = np.array([2, 5, 29, 3], np.int32)
    assert np.isfinite(encode(bert, [ids])[0]).all()
    for wrong in (30, -1):
        with pytest.raises(InputError, match=f"input 1 has the token id {wrong}, the table of words has rows 0 to 29"):
            encode(bert, [ids, np.array([2, wrong, 3], np.int32)])
    with pytest.raises(InputError, match="25 tokens in a row, the encoder has 24 positions"):
        encode(bert, [np.full(25, 5, np.int32)])
    write_bert(tmp_path)
    rewrite(tmp_path, lambda t: {k: v[:2] if "position_embeddings" in k else v for k, v in t.items()})
    edit(tmp_path, max_position_embeddings=2)
    with pytest.raises(InputError, match="2 positions"):
        text.token_embeddings(encoders.load(tmp_path), processors.tokenizer(tmp_path, 30), ["a"])


def of_whisper(folder):
    transformers.WhisperFeatureExtractor().save_pretrained(folder)


def of_wav2vec2(folder):
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(folder)


def fields(**changes):
    return lambda folder: edit(folder, EXTRACTOR, **changes)


EXTRACTORS = {
    "rate": (write_hubert, fields(sampling_rate=8000), "sampling_rate = 8000, must be 16000"),
    "rate of whisper": (write_whisper, fields(sampling_rate=24000), "sampling_rate = 24000, must be 16000"),
    "no rate": (write_hubert, fields(sampling_rate="fast"), "sampling_rate = 'fast', must be 16000"),
    "whisper's beside hubert": (write_hubert, of_whisper, "WhisperFeatureExtractor, which does not fit a wav2vec 2.0"),
    "wav2vec2's beside whisper": (write_whisper, of_wav2vec2, "Wav2Vec2FeatureExtractor, which does not fit a Whisper"),
    "bands": (write_whisper, fields(feature_size=80), "feature_size = 80, must be 8"),
    "seconds": (write_whisper, fields(chunk_length=2), "frames in chunk_length = 80, must be 40"),
    "channels": (write_hubert, fields(feature_size=2), "feature_size = 2, must be 1"),
    "do_normalize": (write_hubert, fields(do_normalize="no"), "do_normalize = 'no'"),
    "another": (write_hubert, fields(feature_extractor_type="ViTFeatureExtractor"), "that can be read"),
    "damaged": (write_hubert, damage(EXTRACTOR), "that can be read"),
    "a list": (write_hubert, damage(EXTRACTOR, b"[]"), "that can be read"),
    "none": (write_hubert, lambda folder: (folder / EXTRACTOR).unlink(), "that can be read"),
}


@pytest.mark.parametrize(("write", "change", "words"), EXTRACTORS.values(), ids=EXTRACTORS)
def test_a_feature_extractor_that_does_not_fit_is_refused(tmp_path, write, change, words):
    write(tmp_path)
    module = encoders.load(tmp_path).module
    assert processors.feature_extractor(tmp_path, module).sampling_rate == 16_000
    change(tmp_path)
    with pytest.raises(InputError, match=words) as caught:
        processors.feature_extractor(tmp_path, module)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_an_empty_extractor_file_has_the_usual_values(tmp_path):
    write_hubert(tmp_path)
    (tmp_path / EXTRACTOR).write_text(json.dumps({}))
    assert processors.feature_extractor(tmp_path, encoders.load(tmp_path).module).do_normalize is True
