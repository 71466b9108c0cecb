"""Draws the pictures of docs/numbers.md, of made-up numbers: .venv/bin/python docs/pictures/draw.py"""

from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
import numpy as np

matplotlib.rcParams |= {"svg.hashsalt": "mmpsy", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False}
matplotlib.rcParams |= {"axes.spines.right": False, "figure.facecolor": "white"}
BELOW, ABOVE = "#5b8ff9", "#e8684a"


def save(name: str) -> None:
    plt.tight_layout()
    plt.savefig(Path(__file__).with_name(name), metadata={"Date": None})
    plt.close()


def separation(draw: np.random.Generator) -> None:
    """Probabilities of people below and above the cut-off, and the ROC curve that follows."""
    below, above = draw.beta(2, 5, 800), draw.beta(4, 3, 200)
    _, (left, right) = plt.subplots(1, 2, figsize=(7, 2.6))
    bins = np.linspace(0, 1, 26)
    left.hist([below, above], bins, stacked=True, color=[BELOW, ABOVE], label=["below the cut-off", "above it"])
    left.axvline(0.42, color="black", linestyle=":")
    left.set(xlabel="probability", ylabel="people")
    left.legend(frameon=False)
    levels = np.linspace(1, 0, 101)
    right.plot([(below >= t).mean() for t in levels], [(above >= t).mean() for t in levels], color=ABOVE)
    right.plot([0, 1], [0, 1], color="grey", linestyle=":")
    right.plot((below >= 0.42).mean(), (above >= 0.42).mean(), "o", color="black")
    right.set(xlabel="1 - specificity", ylabel="sensitivity", title=f"AUROC {np.mean(above[:, None] > below):.2f}")
    save("separation.svg")


def reliability(draw: np.random.Generator) -> None:
    """Probabilities that are right, and probabilities that are too extreme."""
    said = np.linspace(0.05, 0.95, 10)
    odds = np.log(said / (1 - said))
    plt.figure(figsize=(3.4, 3))
    plt.plot([0, 1], [0, 1], color="grey", linestyle=":")
    plt.plot(said, said + draw.normal(0, 0.015, 10), "o-", color=BELOW, label="slope 1")
    plt.plot(said, 1 / (1 + np.exp(-0.5 * odds)), "o-", color=ABOVE, label="slope 0.5: too extreme")
    plt.gca().set(xlabel="probability", ylabel="share above the cut-off")
    plt.legend(frameon=False)
    save("reliability.svg")


def interval() -> None:
    """Width of an AUROC's interval by people tested: the standard error of Hanley and McNeil 1982."""
    people, area = np.array([50, 100, 200, 300, 500, 1000]), 0.85
    above, below = people * 0.2, people * 0.8
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (above - 1) * (one - area**2) + (below - 1) * (two - area**2)
    half = 1.96 * np.sqrt(variance / (above * below))
    plt.figure(figsize=(3.8, 2.6))
    plt.errorbar(np.arange(len(people)), np.full(len(people), area), half, fmt="o", color=BELOW, capsize=3)
    plt.xticks(np.arange(len(people)), people)
    plt.gca().set(xlabel="people tested, a fifth above the cut-off", ylabel="AUROC")
    save("interval.svg")


if __name__ == "__main__":
    generator = np.random.default_rng(0)
    separation(generator)
    reliability(generator)
    interval()
