"""What the card of a corpus says that was built from recordings or a manifest: only what the builder can know."""

from collections.abc import Mapping
from typing import Any

import mmpsy_jax

_UNKNOWN = (
    "Who was interviewed, how, with whose consent and under which licence is not known to the builder: whoever passes "
    "this folder on must say so here."
)
_SOUND = (
    "Log-mel spectrograms are not anonymous: voices can be recognised and words reconstructed from them. Treat the "
    "records, and anything trained on them, as personal data."
)
_TEXT = (
    "`text` is no secret: its ids are hashes of one to three neighbouring characters without a key, so the words can "
    "be recovered by trying all characters. Handle these records like the transcripts themselves."
)
_EMBEDDED = (
    "`text` is no secret: token embeddings can be turned back into words by whoever has the network that made them. "
    "Handle these records like the transcripts themselves."
)
_SCORES = "Scores of questionnaires are no diagnoses. How long people speak often follows them: compare with lengths."
_SAMPLES = "Records hold the recordings themselves: treat them, and anything trained on them, as personal data."
_HEARD = (
    "Embeddings of speech are not anonymous: voices can be recognised and words reconstructed from them. Treat the "
    "records, and anything trained on them, as personal data."
)
_CAVEATS = {
    "log_mel": _SOUND,
    "waveform": _SAMPLES,
    "speech_embeddings": _HEARD,
    "character_ngrams": _TEXT,
    "token_embeddings": _EMBEDDED,
}
_SYNTHETIC = "No person stands behind these records: a result on them says nothing about people."


def is_own(corpus: Mapping[str, Any]) -> bool:
    """Whether a corpus was built from recordings or a manifest, and not from the files of the release."""
    return corpus["dataset"] != "mmpsy" or corpus["config"] == "recordings"


def about(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """As `card.about`; licence and language are empty."""
    synthetic = bool(corpus["synthetic"])
    caveats = [_SYNTHETIC] if synthetic else [_SCORES]
    if not synthetic:
        caveats += [_CAVEATS[entry["extractor"]["name"]] for entry in corpus["modalities"].values()]
    made = [
        f"`{name}` was extracted by {entry['extractor']['name']} of mmpsy_jax {mmpsy_jax.__version__}: "
        + ", ".join(f"{key} {value}" for key, value in entry["extractor"].items() if key != "name")
        for name, entry in corpus["modalities"].items()
    ]
    return {
        "title": f"{corpus['dataset']}/{corpus['config']} {corpus['version']}",
        "summary": f"{'Synthetic interviews' if synthetic else 'Interviews'} with scores, one record per participant.",
        "synthetic": synthetic,
        "license": "",
        "language": "",
        "provenance": ([] if synthetic else [_UNKNOWN]) + made,
        "caveats": caveats,
        "citation": "",
        "url": "",
        "disclaimer": mmpsy_jax.DISCLAIMER,
    }
