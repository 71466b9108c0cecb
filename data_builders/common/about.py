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
_FACES = "Crops of faces identify people: treat the records, and anything trained on them, as personal data."
_CAVEATS = {
    "frontal_faces": _FACES,
    "log_mel": _SOUND,
    "waveform": _SAMPLES,
    "speech_embeddings": _HEARD,
    "character_ngrams": _TEXT,
    "token_embeddings": _EMBEDDED,
}
_SYNTHETIC = "No person stands behind these records: a result on them says nothing about people."


def about(
    corpus: Mapping[str, Any],
    record: str = "interview of a participant",
    summary: str = "Interviews with scores, one record per participant.",
    labels: str = _SCORES,
) -> dict[str, Any]:
    """What card, datasheet and Croissant file say beside `corpus.json`; licence and language are not known.

    Args:
      corpus: content of `corpus.json`.
      record: what one is.
      summary: what all of them are.
      labels: what they are not.

    Returns:
      title, summary, record, synthetic, provenance, caveats, citation, url, disclaimer; license, licence_text and
      language, empty where unknown; and "released", whether this is the release of MMPsy.
    """
    synthetic = bool(corpus["synthetic"])
    extracted = {name: entry["extractor"] for name, entry in corpus["modalities"].items() if "extractor" in entry}
    said = dict.fromkeys(_CAVEATS[one["name"]] for one in extracted.values())
    caveats = [_SYNTHETIC] if synthetic else [labels, *said]
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
        "released": False,
        "license": "",
        "licence_text": "",
        "language": "",
        "provenance": ([] if synthetic else [_UNKNOWN]) + made,
        "caveats": caveats,
        "citation": "",
        "url": "",
        "disclaimer": mmpsy_jax.DISCLAIMER,
    }
