"""The benchmark of the encoders runs without PyTorch, and leaves out a contestant that fails."""

import importlib.util

import numpy as np

from benchmarks import encoders as benchmark
from benchmarks import harness

TINY = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def test_a_tiny_model_without_torch(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "torch" else find(name, *more))
    monkeypatch.setattr(benchmark, "MODELS", {"tiny": ("bert", TINY)})
    monkeypatch.setattr(benchmark, "TURN", 0.001)
    # cuDNN needs a GPU.
    monkeypatch.setattr("sys.argv", ["encoders.py", "--small", "--rounds=3", "--attention=cudnn"])
    benchmark.main()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| tiny")]
    assert len(rows) == 2
    assert "ours, cudnn attention | failed" in rows[0]
    cells = [cell.strip() for cell in rows[1].split("|")[1:-1]]
    assert cells[1:3] == ["ours", "2x128"]
    assert cells[6:] == ["1.00", "0.0e+00", "3"]


def test_turns_alternate_and_divide_by_their_calls(monkeypatch):
    monkeypatch.setattr(benchmark, "TURN", 20.0)
    order, now = [], [0.0]

    def contestant(name, seconds):
        def call():
            order.append(name)
            now[0] += seconds

        return benchmark.Contestant(call, lambda _: None, np.asarray)

    clock = lambda: now[0]  # noqa: E731
    turns, calls = benchmark.turns_of({"slow": contestant("slow", 10.0), "fast": contestant("fast", 5.0)}, clock)
    assert calls == {"slow": 2, "fast": 4}
    order.clear()
    times = harness.take_turns(turns, 2, lambda turn: harness.seconds(turn, clock))
    assert times == {"slow": [20.0, 20.0], "fast": [20.0, 20.0]}
    turn = [*["slow"] * 2, *["fast"] * 4]
    assert order == [*turn, *turn, *turn[::-1]]
