"""Real mood ratings, 0 to 3, through `daily_mood`: built, trained, and better than ridge regression on the same people.

`msqR` of R's psychTools: 6,411 questionnaires of 75 adjectives, up to four by a person. Nine adjectives are estimated
from others, personality and the time of day, for people of whom nothing was trained on. The layers of
single people are left out (`micro`): with two rows each they take up what the shared ones should learn, and people of
other splits have none (mean CCC on validation: docs/real.md).
"""

import csv
import json

import numpy as np
import pytest

from tests.real import tables

pytestmark = pytest.mark.real
MOODS = ("energetic", "happy", "calm", "tense", "sad", "angry", "sleepy", "lonely", "nervous")
TRAITS = ("Extraversion", "Neuroticism", "Lie", "Sociability", "Impulsivity")
WORDS = (
    "active", "alert", "ashamed", "at.ease", "attentive", "blue", "bored", "confident", "content", "delighted",
    "depressed", "determined", "distressed", "drowsy", "dull", "elated", "excited", "fearful", "frustrated", "gloomy",
    "grouchy", "guilty", "hostile", "inspired", "interested", "irritable", "jittery", "lively", "pleased", "proud",
    "quiet", "relaxed", "satisfied", "scared", "serene", "sluggish", "sociable", "strong", "surprised", "tired",
    "unhappy", "upset", "vigorous", "wide.awake",
)  # fmt: skip
INPUTS = {"words": WORDS, "traits": TRAITS, "hour": ("TOD",)}


@pytest.fixture(scope="module")
def questionnaires(assets):
    """One row per questionnaire, with its person and occasion."""
    table = tables.psych_tools(assets, "msqR").dropna(subset=["id"]).dropna(subset=list(WORDS), how="all")
    table["person"] = [f"{study}-{int(number)}" for study, number in zip(table["study"], table["id"], strict=True)]
    table["day"] = table["time"].astype(int)
    return table.drop_duplicates(["person", "day"]).reset_index(drop=True)


@pytest.fixture(scope="module")
def run(questionnaires, launch, tmp_path_factory):
    """(folder of a trained run, folder of its corpus)."""
    folder = tmp_path_factory.mktemp("moods")
    columns = [name for names in INPUTS.values() for name in names]
    renamed = {name: name.replace(".", "_") for name in columns}
    table = questionnaires[["person", "day", *MOODS, *columns]].rename(columns=renamed)
    table.to_csv(folder / "moods.csv", index=False)
    sensors = ",".join(":".join([name, *(renamed[one] for one in ones)]) for name, ones in INPUTS.items())
    print(launch(
        "build", "--dataset=daily_mood/table_by_person", f"--source={folder / 'moods.csv'}",
        f"--data_dir={folder / 'data'}", f"--labels={','.join(MOODS)}", f"--sensors={sensors}",
    ).stderr)  # fmt: skip
    (corpus,) = (folder / "data" / "daily_mood" / "table_by_person").glob("[0-9]*")
    print(launch(
        f"--config=configs/daily_mood.py:by_person,{','.join(MOODS)}", f"--config.data.folder={corpus}",
        f"--workdir={folder / 'run'}", "--config.total=20 epochs",
        "--config.model.micro=False", "--config.evaluation.bootstrap=200", minutes=120,
    ).stdout)  # fmt: skip
    return folder / "run", corpus


def test_the_scale_of_the_ratings_is_seen(run, questionnaires):
    card = json.loads((run[1] / "corpus.json").read_text())
    ends = {name: (one["low"], one["high"]) for name, one in card["label_ranges"].items()}
    assert ends == dict.fromkeys(MOODS, (0, 3))
    assert sum(card["participants"].values()) == len(questionnaires) > 6000


def test_the_network_beats_ridge_on_the_same_split(run, questionnaires):
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with open(run[0] / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    split = {row["participant_id"]: row["split"] for row in rows}
    table = questionnaires.assign(name=questionnaires["person"] + "/" + questionnaires["day"].astype(str))
    where = np.array([split.get(name, "train") for name in table["name"]])  # training rows have no predictions
    inputs = table[[name for names in INPUTS.values() for name in names]].fillna(0).to_numpy(float)
    figures = []
    for mood in MOODS:
        truth = table[mood].to_numpy(float)
        known = ~np.isnan(truth)
        train, test = known & (where == "train"), known & (where == "test")
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11))).fit(inputs[train], truth[train])
        ours = {row["participant_id"]: float(row["y_pred"]) for row in rows if row["task"] == mood}
        named = np.array([ours[name] for name in table["name"][test]])
        linear, mean = np.clip(ridge.predict(inputs[test]), 0, 3), np.full(test.sum(), truth[train].mean())
        assert named.min() >= 0 and named.max() <= 3
        pairs = [(ccc(truth[test], p), np.abs(truth[test] - p).mean()) for p in (named, linear, mean)]
        print(f"{mood:10} {test.sum()} CCC, MAE: network", *(f"{c:.3f} {m:.3f};" for c, m in pairs))
        figures.append(pairs)
    network, linear, mean = np.mean(figures, axis=0)
    for name, (agreement, error) in {"network": network, "ridge": linear, "mean": mean}.items():
        print(f"{name}: mean CCC {agreement:.3f}, MAE {error:.3f}")
    assert network[0] > linear[0]
    assert network[1] < mean[1]


def ccc(truth, estimate):
    """Lin's concordance."""
    return (
        2
        * np.cov(truth, estimate, bias=True)[0, 1]
        / (truth.var() + estimate.var() + (truth.mean() - estimate.mean()) ** 2)
    )
