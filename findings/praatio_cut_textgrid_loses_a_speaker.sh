#!/usr/bin/env bash
# praatio 6.2.2: a TextGrid that is cut short, as a copy that was broken off leaves it. Seen on 2026-11-30.
#
# A TextGrid says before its tiers how many there are ("size = 2"), and before the intervals of a tier how many follow.
# One would expect openTextgrid to refuse a file that holds fewer. It does where the cut falls inside an interval; where
# it falls between two of them, or between two tiers, the file opens without an error or a warning: the second speaker
# is missing, or there with fewer intervals than the file says. It hurts whoever measures turns, speaking time or
# response latency in interviews with a tier per speaker: the interviewer has simply said nothing.
set -euo pipefail

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check praatio==6.2.2
cat > "$place/look.py" <<'PYTHON'
import collections
import pathlib
import sys

from praatio import textgrid

path = pathlib.Path(sys.argv[1], "interview.TextGrid")
rows = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", "xmax = 4", "tiers? <exists>"]
rows += ["size = 2", "item []:"]
for k, name in enumerate(("patient", "doctor"), 1):
    rows += [f"    item [{k}]:", '        class = "IntervalTier"', f'        name = "{name}"', "        xmin = 0"]
    rows += ["        xmax = 4", "        intervals: size = 2"]
    for i in (1, 2):
        rows += [f"        intervals [{i}]:", f"            xmin = {2 * i - 2}", f"            xmax = {2 * i}"]
        rows += [f'            text = "words {i}"']
whole = "\n".join(rows) + "\n"
opened = collections.Counter()
for end in range(whole.index("item [1]"), whole.rindex('"words 2"')):
    path.write_text(whole[:end])
    try:
        grid = textgrid.openTextgrid(str(path), includeEmptyIntervals=False)
    except Exception as error:  # noqa: BLE001  whatever it raises
        opened[type(error).__name__] += 1
    else:
        opened[", ".join(f"{tier.name}: {len(tier.entries)} of 2" for tier in grid.tiers) or "no tier"] += 1
for what, count in opened.most_common():
    print(f"{count:4d} cuts: {what}")
lost = sum(count for what, count in opened.items() if "patient" in what and "doctor" not in what)
sys.exit(0 if lost else "no longer so: a TextGrid that is cut short is refused")
PYTHON
"$place/venv/bin/python" "$place/look.py" "$place"
