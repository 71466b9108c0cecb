"""Exceptions that nothing handles: one line, and a log file without contents."""

import errno
import re
from pathlib import Path

import pytest

import launch
from mmpsy_jax.io import report_fault


@pytest.fixture
def no_traceback(monkeypatch):
    monkeypatch.delenv("MMPSY_TRACEBACK")


def test_a_fault_of_ours_is_one_line_and_a_log_file_without_contents(monkeypatch, no_traceback, capsys):
    def broken(*_, **__):
        try:
            {}["canary of a transcript"]
        except KeyError as error:
            raise TypeError("canary of a score") from error

    monkeypatch.setattr("mmpsy_jax.evaluation.report.evaluate_file", broken)
    monkeypatch.setattr("mmpsy_jax.commands.evaluate.evaluate_file", broken, raising=False)
    assert launch.main(["evaluate", "--predictions=x.csv"]) == 70
    (line,) = capsys.readouterr().err.splitlines()
    path = Path(re.search(r"\S+\.log", line).group())
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    assert "TypeError" in line and "canary" not in line + text
    assert re.search(r"KeyError\n\nthen:\n(.*\n)+builtins\.TypeError\n$", text)
    assert f"{__file__}:" in text


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "out.csv"), 2, "out.csv: No space left on device: make room"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 2, "runs: Permission denied"),
        (MemoryError(), 2, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_the_machine_or_the_user_caused_says_so(error, status, says, no_traceback, capsys):
    assert report_fault(error) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line and ".log" not in line


def test_with_the_variable_set_the_exception_is_raised_again():
    with pytest.raises(ZeroDivisionError, match="by zero"):
        report_fault(ZeroDivisionError("division by zero"))
