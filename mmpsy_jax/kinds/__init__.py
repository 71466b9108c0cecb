"""Kinds of task, one file each with a class `Kind` (`tasks.Task` says what it may state); found by their file name."""
