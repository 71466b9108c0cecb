"""Transcripts -> token embeddings of a BERT, as the release of MMPsy has them (systems.md (d)).

The release joins all answers, cuts the text after 512 tokens and keeps the last hidden state of every token, [CLS] and
[SEP] included.

Departure from the release: `whole=True` reads the rest as well, in windows.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from mmpsy_jax.encoders import Encoder
from mmpsy_jax.encoders.encode import Layers, encode
from mmpsy_jax.io import InputError

OVERLAP = 128  # tokens that two windows share, so that every token is seen with 64 tokens on either side


class Embedded(NamedTuple):
    """Tokens of a text.

    Attributes:
      states: of each, the first for [CLS] and the last for [SEP].
      characters: where in the text each begins; [CLS] at the first character, [SEP] with the last token.
    """

    states: Float[np.ndarray, "n d"]
    characters: Int[np.ndarray, " n"]


def token_embeddings(
    encoder: Encoder,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    whole: bool = False,
    layers: Layers = None,
    batch_size: int = 16,
) -> list[Embedded]:
    """Embeddings of every token of every text.

    Args:
      encoder: a `Bert`.
      tokenizer: of `processors.tokenizer`, from the same folder.
      texts: transcripts; an empty one still has its two special tokens.
      whole: False cuts a text after as many tokens as the encoder has positions (512), True reads all of it: windows
        of that many tokens overlap by `OVERLAP`, and each token is taken from the window in which it stands farther
        from the edge. Both give the same for texts that fit.
      layers, batch_size: as in `encode`.

    Returns:
      for each text f32 states of its tokens, and where these begin.

    Raises:
      InputError: the encoder has positions for [CLS] and [SEP] alone, or no row for a token; otherwise as `encode`.
    """
    room = encoder.module.longest - 2
    if room < 1:
        raise InputError(f"the encoder has {room + 2} positions: [CLS], [SEP] and a token need 3: take another encoder")
    overlap = min(OVERLAP, room // 2)
    windows, places, characters = [], [], []
    for text in texts:
        read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids, begins = read["input_ids"], [begin for begin, _ in read["offset_mapping"]]
        begins = begins if whole else begins[:room]
        characters.append(np.array([0, *begins, begins[-1] if begins else 0], np.int32))
        starts = range(0, max(len(ids) - overlap, 1), room - overlap) if whole else range(1)
        places.append(range(len(windows), len(windows) + len(starts)))
        windows += [_special(tokenizer, ids[start : start + room]) for start in starts]
    states = encode(encoder, windows, layers=layers, batch_size=batch_size)
    joined = (_join([states[place] for place in part], overlap) for part in places)
    return [Embedded(*one) for one in zip(joined, characters, strict=True)]


def _special(tokenizer: Any, ids: list[int]) -> np.ndarray:
    return np.array([tokenizer.cls_token_id, *ids, tokenizer.sep_token_id], np.int32)


def _join(parts: Sequence[np.ndarray], overlap: int) -> np.ndarray:
    """Windows without the inner [SEP] and [CLS], and each shared token once: half of them from either window."""
    kept = []
    for number, part in enumerate(parts):
        start = 0 if number == 0 else 1 + overlap // 2
        stop = len(part) if number == len(parts) - 1 else len(part) - 1 - (overlap - overlap // 2)
        kept.append(part[start:stop])
    return np.concatenate(kept)
