"""What the card of the MMPsy release says, and that of the synthetic corpus in its layout."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAPER = "https://arxiv.org/abs/2408.12088"

CITATION = (Path(__file__).parent / "CITATIONS.bib").read_text(encoding="utf-8")

# The licence of the release asks for this notice in every copy or substantial portion.
LICENSE_OF_RELEASE = """\
MIT License. Copyright (c) 2024 ShuyeIT

Permission is hereby granted, free of charge, to any person obtaining a copy of this dataset and associated
documentation files (the "Dataset"), to deal in the Dataset without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Dataset, and to permit
persons to whom the Dataset is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Dataset.

THE DATASET IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE DATASET OR THE USE OR OTHER DEALINGS IN THE DATASET.
"""

DISCLAIMER = (
    "For research only. A model trained on these records estimates the total of a self-report questionnaire from "
    "speech. It is not a diagnostic device, has not been validated against clinical interviews, and must not be used "
    "for decisions about a person, for discipline, selection or surveillance. No estimate, high or low, replaces "
    "a professional. Where somebody is at risk, contact local emergency or crisis services."
)

_PROVENANCE = (
    "Interviews of secondary-school pupils in Guangdong, China, released as MMPsy in 2024 with PHQ-9 and GAD-7 totals. "
    "The publishers state that the data were collected with the authorisation of the education authority and "
    "anonymised; no consent form or ethics approval is part of the release.",
    "The release holds transcripts, log-mel windows (80 bands, about 30 frames/s, normalised over each recording, 60 s "
    "windows overlapping by 10 s) and token embeddings of chinese-bert-wwm-ext (175 tokens per window). No waveforms.",
    f"It has 1,275 participants, fewer than the 7,700 and more of the paper ({PAPER}): numbers of the paper cannot be "
    "reproduced on it. The splits here are ours, derived from the participant id alone.",
)

_CAVEATS = (
    "PHQ-9 totals run from 2 to 24: nobody scores 0 or 1, which points to an undocumented offset or filter. The "
    "release's documentation says that two control questions were added to each questionnaire. Report results for a "
    "second cut-off beside 10.",
    "The severity strings of the release contradict its own documentation. They are not part of these records; derive "
    "classes from the scores.",
    "PHQ-9 and GAD-7 totals correlate at 0.80: a model of one mostly learns the other.",
    "PHQ-9 and GAD-7 are themselves imperfect against a diagnosis, and in Chinese adolescents weaker than in adults: a "
    "study of 2,237 pupils who had screened positive found areas under the curve of 0.62 to 0.71 (BMC Psychiatry 2025, "
    "doi 10.1186/s12888-025-06754-y).",
    "No sex, age, school, class, date or item-level answer is in the release: subgroup fairness and splits by school "
    "are not assessable.",
    "The number of answers, which follows the interview's branching, correlates with the PHQ-9 total at 0.5 (in 1,020 "
    "participants). Always compare a model with a baseline that sees lengths only.",
    "BERT truncated 18 % of the transcripts at 512 tokens, and text windows are placed in equal steps over the text, "
    "not aligned with the sound.",
    "Log-mel spectrograms are not anonymous: voices can be recognised and words reconstructed from them. Treat the "
    "records, and anything trained on them, as personal data of minors.",
)

_IDS_CAVEAT = (
    "`text` is no secret: its ids are hashes of one to three neighbouring characters without a key, so the words can "
    "be recovered by trying all characters. Handle these records like the transcripts themselves. The encoder has no "
    "learned weights and knows no timing: `window_start_s` is a pseudo-time."
)

_SYNTHETIC_CAVEATS = (
    "No person stands behind these records. The sound is shaped noise, the text is meaningless characters; the scores "
    "are drawn from the released marginal distributions and a Gaussian copula.",
    "A signal of known strength was planted, so that the best possible result is known. A result on this corpus shows "
    "that software works, and says nothing about estimating mental health from speech.",
)


def about(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """As `common.about.about`."""
    synthetic = bool(corpus["synthetic"])
    encoded = any(modality["kind"] == "ids" for modality in corpus["modalities"].values())
    return {
        "title": f"{corpus['dataset']}/{corpus['config']} {corpus['version']}",
        "summary": (
            "Synthetic interviews in the layout of the MMPsy release, made by a seeded generator with a planted "
            "signal. For testing software; not data about people."
            if synthetic
            else "Interviews of Chinese secondary-school pupils with PHQ-9 and GAD-7 totals, one record per "
            "participant: the public part of MMPsy as sharded TFDS records."
        ),
        "synthetic": synthetic,
        "released": not synthetic,
        "license": "Apache-2.0" if synthetic else "MIT",
        "licence_text": "" if synthetic else LICENSE_OF_RELEASE,
        "language": "zh",
        "provenance": (
            ("Written by `data_builders/mmpsy/demo.py` of mmpsy_jax; the equations are in its `docs/demo_corpus.md`.",)
            if synthetic
            else _PROVENANCE
        ),
        "caveats": _SYNTHETIC_CAVEATS if synthetic else (*_CAVEATS, *([_IDS_CAVEAT] if encoded else [])),
        "citation": "" if synthetic else CITATION,
        "url": "" if synthetic else PAPER,
        "disclaimer": DISCLAIMER,
    }
