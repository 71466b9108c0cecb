"""FinishedRun weights through our encoders in float32 beside transformers' PyTorch models: every state, and the words.

PyTorch computes in float64 here: its own float32 states of Whisper differ from those by up to 4.9e-5 of the largest
(frame 1472 of the last utterance, which is padding), nine times as much as ours.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mmpsy_jax import encoders
from mmpsy_jax.encoders import processors, text
from mmpsy_jax.encoders.encode import encode

pytestmark = pytest.mark.real
# Of the largest state: absolute bounds, as on random weights, do not fit the states of trained networks (up to 13).
TOLERANCE = 5e-5
ATTENTION = ("xla", "blocked")
TEXTS = (
    "I have not slept well for two weeks.",
    "最近两个星期我睡得不好，也不想见人。",
    "",
    "Well, uh-huh … it's 3 a.m. & I'm awake (again)!",
    "tired",
    "I wake up at night and cannot fall asleep again. " * 65,
)
LONGEST = 40  # tokens of an utterance
TINY_EN = {"start": "<|startoftranscript|>", "no_times": "<|notimestamps|>", "end": "<|endoftext|>"}


@functools.partial(jax.jit, static_argnums=0)
def apply(module, params, *inputs, **named):
    return module.apply({"params": params}, *inputs, output_hidden_states=True, **named)


def run(encoder, *inputs, **named):
    """All states of a network, for numpy arrays."""
    return apply(encoder.module, encoder.params, *map(jnp.asarray, inputs), **named)


def worst(theirs, ours, what):
    """The largest difference of any state, over the largest value of that state."""
    assert len(theirs) == len(ours)
    shares, largest = [], 0.0
    for one, other in zip(theirs, ours, strict=True):
        one, other = np.asarray(one), np.asarray(other)
        assert one.shape == other.shape
        shares.append(float(np.abs(one - other).max() / np.abs(one).max()))
        largest = max(largest, float(np.abs(one).max()))
    print(f"{what}: {len(shares)} states up to {largest:.1f}, largest difference over largest state {max(shares):.1e}")
    return max(shares)


@pytest.fixture(scope="module")
def bert(bert_folder):
    import torch

    torch.set_num_threads(1)
    import transformers

    tokenizer = processors.tokenizer(bert_folder)
    inputs = tokenizer(list(TEXTS), padding=True, truncation=True, max_length=512, return_tensors="np")
    exact = {"attn_implementation": "eager", "dtype": torch.float64}
    model = transformers.AutoModel.from_pretrained(bert_folder, **exact).eval()
    with torch.no_grad():
        out = model(**{key: torch.tensor(value) for key, value in inputs.items()}, output_hidden_states=True)
    return inputs, [state.numpy() for state in out.hidden_states]


@pytest.mark.parametrize("implementation", ATTENTION)
def test_every_state_of_a_trained_bert(bert, bert_folder, implementation):
    inputs, theirs = bert
    encoder = encoders.load(bert_folder, implementation=implementation)
    mask = inputs["attention_mask"].astype(bool)
    assert mask.sum(1).max() == 512 and mask.sum(1).min() == 2
    out = run(encoder, inputs["input_ids"].astype(np.int32), mask)
    # States of padding are compared, too: both attend from it in the same way.
    assert worst(theirs, out["hidden_states"], f"BERT, {implementation}") <= TOLERANCE


def test_texts_of_any_length_are_those_of_transformers(bert, bert_folder):
    inputs, theirs = bert
    made = text.token_embeddings(encoders.load(bert_folder), processors.tokenizer(bert_folder), TEXTS)
    for row, one in enumerate(made):
        count = int(inputs["attention_mask"][row].sum())
        assert one.states.shape == (count, 384)
        assert worst([theirs[-1][row, :count]], [one.states], f"text {row}") <= TOLERANCE


def test_paraphrases_are_nearer_than_other_sentences(bert_folder):
    sentences = ["I sleep badly.", "My nights are restless and I wake up a lot.", "The train to Lyon leaves at noon."]
    made = text.token_embeddings(encoders.load(bert_folder), processors.tokenizer(bert_folder), sentences)
    means = np.stack([one.states.mean(0) for one in made])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = means @ means.T
    print("cosines", np.round(cosines, 3).tolist())
    assert cosines[0, 1] > 0.4 > 0.2 > max(cosines[0, 2], cosines[1, 2])


@pytest.fixture(scope="module")
def whisper(whisper_folder, utterances):
    """Log-mel of the utterances, transformers' greedy tokens (special ones first), its states, its next tokens."""
    import torch

    torch.set_num_threads(1)
    import transformers

    features = processors.recordings(processors.feature_extractor(whisper_folder), [heard for heard, _ in utterances])
    exact = {"attn_implementation": "eager", "dtype": torch.float64}
    model = transformers.WhisperForConditionalGeneration.from_pretrained(whisper_folder, **exact).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(whisper_folder)
    start, no_times, end = tokenizer.convert_tokens_to_ids(list(TINY_EN.values()))
    rows = []
    with torch.no_grad():
        for mel in features:
            ids, inputs, cache = [start, no_times], torch.tensor(mel, dtype=torch.float64)[None], None
            encoded, given = model.model.encoder(inputs).last_hidden_state, ids
            while ids[-1] != end and len(ids) < LONGEST:
                out = model(encoder_outputs=(encoded,), decoder_input_ids=torch.tensor([given]), past_key_values=cache)
                given, cache = [int(out.logits[0, -1].argmax())], out.past_key_values
                ids += given
            out = model(inputs, decoder_input_ids=torch.tensor([ids]), output_hidden_states=True)
            parts = (out.encoder_hidden_states, out.decoder_hidden_states)
            states = [[state[0].numpy() for state in part] for part in parts]
            rows.append((mel, ids, *states, out.logits[0].argmax(-1).numpy()))
    return tokenizer, rows


def hear(encoder, mel, ids):
    """States of the encoder, and of the decoder for these tokens; one shape, since nothing sees what follows."""
    out = run(encoder, mel[None], decoder_ids=jnp.array([ids + (LONGEST - len(ids)) * [0]]))
    decoded = [state[0, : len(ids)] for state in out["hidden_states"]]
    return [state[0] for state in out["encoder"]["hidden_states"]], decoded


@pytest.mark.parametrize("implementation", ATTENTION)
def test_every_state_of_a_trained_whisper(whisper, whisper_folder, implementation):
    encoder = encoders.load(whisper_folder, implementation=implementation)
    for number, (mel, ids, encoded, decoded, _) in enumerate(whisper[1]):
        ours = hear(encoder, mel, ids)
        assert worst(encoded, ours[0], f"encoder, utterance {number}, {implementation}") <= TOLERANCE
        assert worst(decoded, ours[1], f"decoder, utterance {number}, {implementation}") <= TOLERANCE


def test_the_encoder_that_embed_uses(whisper, whisper_folder):
    made = encode(encoders.load(whisper_folder), [mel for mel, *_ in whisper[1]], batch_size=2)
    for (_, _, encoded, _, _), states in zip(whisper[1], made, strict=True):
        assert worst(encoded[-1:], [states], "encode") <= TOLERANCE


def words(said):
    return re.sub(r"[^a-z ]", "", said.lower().replace("-", " ")).split()


def test_the_most_probable_tokens_are_the_transcript(whisper, whisper_folder, utterances):
    """Our states through the table of words: after each token, the next; the words are those that the reader reads."""
    tokenizer, rows = whisper
    encoder = encoders.load(whisper_folder)
    table = encoder.params["word_table"]["embedding"]
    wrong = total = 0
    for (mel, ids, _, _, theirs), (_, spoken) in zip(rows, utterances, strict=True):
        ours = np.argmax(np.asarray(hear(encoder, mel, ids)[1][-1]) @ table.T, axis=-1)
        np.testing.assert_array_equal(ours, theirs)
        heard = words(tokenizer.decode(ours[1:-1], skip_special_tokens=True))
        wrong += errors(words(spoken), heard)
        total += len(words(spoken))
    print(f"{wrong} wrong of {total} words")
    assert total == 71 and wrong <= 4


def errors(wanted, got):
    """Words to insert, delete or replace (Levenshtein)."""
    row = list(range(len(got) + 1))
    for i, one in enumerate(wanted, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (one != other))
    return row[-1]
