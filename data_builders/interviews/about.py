"""What the card of a corpus says that was built from files of one's own: only what the builder can know."""

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


# By dataset: what a record is, all of them, and what its labels are not; interviews where it is not named.
_OTHERS = {
    "hotline": (
        "turn of a caller",
        "Turns of hotline callers with labels of emotion, one record per turn.",
        "Labels of emotion are judgements of listeners, and no diagnoses.",
    ),
    "daily_mood": (
        "day of a person",
        "Days of people with actigraphy, an embedding of speech and ratings of moods, one record per day.",
        "Ratings of moods are no diagnoses. Days of one person are not independent of each other.",
    ),
}
_INTERVIEWS = ("interview of a participant", "Interviews with scores, one record per participant.", _SCORES)


def is_own(corpus: Mapping[str, Any]) -> bool:
    """Whether a corpus was built from files of one's own or of its builder, and not from those of the release."""
    return corpus["dataset"] != "mmpsy" or corpus["config"] == "recordings"


def about(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """As `card.about`; licence and language are empty."""
    synthetic = bool(corpus["synthetic"])
    record, summary, labels = _OTHERS.get(corpus["dataset"], _INTERVIEWS)
    extracted = {name: entry["extractor"] for name, entry in corpus["modalities"].items() if "extractor" in entry}
    caveats = [_SYNTHETIC] if synthetic else [labels, *(_CAVEATS[one["name"]] for one in extracted.values())]
    made = [
        f"`{name}` was extracted by {one['name']} of mmpsy_jax {mmpsy_jax.__version__}: "
        + ", ".join(f"{key} {value}" for key, value in one.items() if key != "name")
        for name, one in extracted.items()
    ]
    return {
        "title": f"{corpus['dataset']}/{corpus['config']} {corpus['version']}",
        "summary": f"Synthetic: {summary[0].lower()}{summary[1:]}" if synthetic else summary,
        "record": record,
        "synthetic": synthetic,
        "license": "",
        "language": "",
        "provenance": ([] if synthetic else [_UNKNOWN]) + made,
        "caveats": caveats,
        "citation": "",
        "url": "",
        "disclaimer": mmpsy_jax.DISCLAIMER,
    }
