"""What the card of a corpus says that was built from a feature file of MMSA: only what the builder can know."""

from collections.abc import Mapping
from typing import Any

import mmpsy_jax


def about(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """As `common.about.about`."""
    synthetic = bool(corpus["synthetic"])
    words = "tokens" in corpus["modalities"]
    return {
        "title": f"{corpus['dataset']}/{corpus['config']} {corpus['version']}",
        "summary": (
            "Synthetic clips in the layout of MMSA's feature files, made by a seeded generator with a planted signal. "
            "For testing software; not data about people."
            if synthetic
            else "Clips of people who speak, with features of text, audio and vision and a rating of sentiment, from a "
            "feature file of MMSA. One record per clip."
        ),
        "synthetic": synthetic,
        "released": False,
        "license": "Apache-2.0" if synthetic else "",
        "licence_text": "",
        "language": "en",
        "provenance": (
            ("Written by `data_builders/mmsa/demo.py` of mmpsy_jax; see its `docs/msa.md`.",)
            if synthetic
            else (
                "Converted from a feature file that MMSA (https://github.com/thuiar/MMSA) distributes; its licence "
                "and that of the corpus apply. How the features were extracted is documented there, not here.",
            )
        ),
        "caveats": (
            ("No person stands behind these records: a result on them says nothing about people.",)
            if synthetic
            else (
                "A record is a clip, not a person: several clips show one speaker. The splits are those of the file; "
                "a cross-validation over clips would put a speaker into training and test.",
                "Sentiment ratings are no measure of mental health.",
                *(("`tokens` are ids of words: who has BERT's vocabulary can read them.",) if words else ()),
            )
        ),
        "citation": "",
        "url": "",
        "disclaimer": mmpsy_jax.DISCLAIMER,
    }
