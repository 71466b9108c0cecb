"""Set before jax is imported anywhere: CPU, eight virtual devices, no state of the user's shell. Fixtures for all.

Where the time of a run goes, and what each of these settings saves, stands in docs/testing.md.
"""

import gc
import hashlib
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest

os.environ["JAX_PLATFORMS"] = "cpu"
# Without fusion emitters, XLA compiles a network in a third to two thirds of the time (docs/testing.md).
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
if [int(x) for x in metadata.version("jax").split(".")[:2]] < [0, 11]:  # which has no others and refuses the flag
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["MMPSY_TRACEBACK"] = "1"  # an unexpected exception fails a test with its traceback
# Small shapes run as fast without; compiling, most of the suite's time, takes half.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

# Tracing makes millions of objects that stay: looking through them for cycles took a tenth of the time.
gc.set_threshold(100_000, 10, 10)

CACHE_DAYS = 30
# Tests of pictures and pages draw them; so do processes that tests start.
DRAWN = (
    "tests/evaluation/test_browser.py",
    "tests/evaluation/test_plots.py",
    "tests/evaluation/test_sections.py::test_sections_stand_only",
    "tests/evaluation/test_sections.py::test_values_reach_the_page",
    "tests/evaluation/test_report.py::test_undefined_metrics_are_drawn",
    "tests/benchmarks/",
    "tests/real/",
    "tests/test_end_to_end.py::test_a_run_leaves_everything",
    "tests/inference/test_explain.py::test_files_of",
    "tests/inference/test_explain.py::test_records_have_a_picture",
    "tests/inference/test_explain.py::test_the_page_in_a_browser",
    "tests/exploration/test_explore.py::test_the_page_in_a_browser",
    "tests/projects/hotline/test_calls.py",
)


def compile_cache() -> Path:
    """Programs compiled by earlier sessions of this environment: one folder per version of XLA and kind of CPU.

    A damaged file of it (of a process that was killed while writing) is compiled anew, see `filterwarnings`.
    """
    try:
        cpu = next(
            line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("flags", "Feat"))
        )
    except (OSError, StopIteration):
        cpu = platform.processor()
    known = (metadata.version("jax"), metadata.version("jaxlib"), platform.machine(), cpu)
    return Path(sys.prefix) / "mmpsy_tests" / hashlib.sha256(repr(known).encode()).hexdigest()[:16]


os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compile_cache())


def pytest_configure(config):
    from absl import flags

    if not hasattr(config, "workerinput"):  # the process that starts the workers forgets old programs
        old = time.time() - CACHE_DAYS * 24 * 3600
        for path in compile_cache().glob("*"):
            if path.stat().st_mtime < old:
                path.unlink(missing_ok=True)

    flags.FLAGS.mark_as_parsed()  # grain 0.2.18 reads absl flags that nobody parses under pytest


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that no worker begins one of them when the others have nothing left."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def pictures():
    """Draws the pictures of a page in tests of pages alone: the 28 of a run's page take as long as its training."""
    from matplotlib.figure import Figure

    from tests.pictures import leave_empty

    draw = Figure.savefig

    def savefig(figure, file, **options):
        if os.environ["PYTEST_CURRENT_TEST"].startswith(DRAWN) or options.get("format") != "svg":
            draw(figure, file, **options)
        else:
            leave_empty(figure, file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", savefig)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_shape_checks():
    """Networks are traced in half of the time."""
    from tests import networks

    with networks.quick_shape_checks():
        yield


@pytest.fixture(scope="module")
def compiled_once():
    """Trainings of one config in a file share their programs; for files that train one config several times."""
    from tests import programs

    with programs.compiled_once():
        yield


@pytest.fixture(scope="module")
def one_device():
    """Trainings on one device, which compile a fifth quicker; for files that are about networks, not about meshes."""
    import functools

    import jax

    from mmpsy_jax.training import mesh

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh, "make_mesh", functools.partial(mesh.make_mesh, devices=jax.devices()[:1]))
        yield


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """The version folder of a small demo corpus (SYNTHETIC)."""
    from tests import corpora
    from tests.sharing import shared

    return Path(shared(tmp_path_factory, "corpus", corpora.build))
