"""Whatever a file holds, a reader takes it or raises InputError: never another exception, never a changed table."""

import csv
import io

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmpsy_jax.evaluation.predictions import COLUMNS, Predictions, read_csv, write_csv
from mmpsy_jax.evaluation.subgroups import read_subgroups
from mmpsy_jax.io import InputError

# The same examples in every run; the folder is shared by the examples of a test, which each write their own file anew.
FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
READERS = pytest.mark.parametrize("read", [read_csv, read_subgroups])

NUMBERS = ["0", "1", "0.5", "-1", "1e400", "1e-400", "nan", "inf", "1_0", "٣", "0x1", "1e300", " 1 ", ""]
NAMES = ["'=1", "=1", "a,b", 'a"b', "\x00", "a\x00", "\ud7ff", "\u2028", "", " ", "'"]
FOREIGN = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(NAMES), st.text(max_size=8))
PLAUSIBLE = {
    "participant_id": st.integers(0, 99).map(str),
    "split": st.sampled_from(["train", "validation", "test"]),
    "fold": st.sampled_from(["0", "1"]),
    "seed": st.sampled_from(["0", "1"]),
    "task": st.just("t"),
    "y_true": st.sampled_from(["0", "1", ""]),
    "y_prob": st.sampled_from(["0", "0.5", "1e-400"]),
    "sex": st.sampled_from(["f", "m", ""]),
}
HEADERS = st.one_of(
    st.just(list(PLAUSIBLE)), st.just(["participant_id", "sex"]), st.lists(st.sampled_from([*PLAUSIBLE, "y_pred", ""]))
)


@st.composite
def tables(draw):
    """A CSV text whose header has known names; cells are plausible or, in half of the texts, foreign or shifted."""
    names, spoiled = draw(HEADERS), draw(st.booleans())
    kinds = [PLAUSIBLE.get(name, st.just("")) for name in names]
    if spoiled:
        shift = draw(st.integers(0, len(names)))
        kinds = [st.one_of(kind, FOREIGN) for kind in [*kinds[shift:], *kinds[:shift]]]
        kinds = kinds[: draw(st.integers(len(kinds) - 1, len(kinds)))]
    rows = draw(st.lists(st.tuples(*kinds), max_size=4))
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))).writerows([names, *rows])
    return buffer.getvalue()


def attempt(read, path):
    try:
        return read(path)
    except InputError as error:
        assert str(path) in str(error)
        return None


@READERS
@FUZZ
@given(content=st.binary(max_size=300))
def test_random_bytes(read, content, tmp_path):
    (tmp_path / "f.csv").write_bytes(content)
    attempt(read, tmp_path / "f.csv")


@READERS
@FUZZ
@given(text=tables())
def test_random_and_shifted_cells(read, text, tmp_path):
    (tmp_path / "f.csv").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    made = attempt(read, tmp_path / "f.csv")
    if isinstance(made, Predictions):  # what is taken obeys the rules of the table
        again = Predictions(**{name: getattr(made, name) for name in COLUMNS})
        write_csv(tmp_path / "again.csv", again)
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(read_csv(tmp_path / "again.csv"), name), getattr(made, name))


@READERS
@FUZZ
@given(text=tables(), noise=st.binary(min_size=1, max_size=4), at=st.floats(0, 1))
def test_tables_with_a_few_wrong_bytes(read, text, noise, at, tmp_path):
    raw = text.encode("utf-8", errors="surrogatepass")
    cut = int(at * len(raw))
    (tmp_path / "f.csv").write_bytes(raw[:cut] + noise + raw[cut + len(noise) :])
    attempt(read, tmp_path / "f.csv")


def test_the_tables_above_are_taken_and_refused(tmp_path):
    """Examples of which all are refused would show nothing."""
    outcomes = {read: set() for read in (read_csv, read_subgroups)}

    @FUZZ
    @given(text=tables())
    def collect(text):
        for read, seen in outcomes.items():
            (tmp_path / "f.csv").write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
            seen.add(attempt(read, tmp_path / "f.csv") is not None)

    collect()
    assert all(seen == {True, False} for seen in outcomes.values())
