#!/usr/bin/env bash
# soundfile 0.14.0 (libsndfile inside) and PyAV 18.1.0, seen 2026-11-30.
# An Ogg file may hold several streams, one behind the other ("chained", RFC 3533): what `cat a.ogg b.ogg` makes, and
# what some recorders leave. One would expect both readers to give all of it, or to say that there is more.
# soundfile gives the first stream only, and its `frames` count that stream alone: half of a recording is gone without
# a word. PyAV gives both streams where they are alike; where the second has another number of channels, it stops with
# "Not yet implemented in FFmpeg". The Debian package klettres-data ships 18 such files (mono, then a second of stereo).
# It hurts whoever measures speaking time or transcribes recordings that were joined by bytes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check soundfile==0.14.0 av==18.1.0 numpy==2.4.6
cat > "$work/look.py" <<'PYTHON'
import pathlib
import sys

import av
import numpy as np
import soundfile

folder, rate = pathlib.Path(sys.argv[1]), 16000
tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(5 * rate) / rate)
soundfile.write(folder / "mono.ogg", tone, rate)
soundfile.write(folder / "stereo.ogg", np.stack([tone, tone], axis=1), rate)


def by_av(path):
    try:
        with av.open(str(path)) as container:
            return sum(frame.samples for frame in container.decode(audio=0)) / rate
    except av.FFmpegError as error:
        return type(error).__name__


seen = []
for second in ("mono", "stereo"):
    path = folder / f"mono_{second}.ogg"
    path.write_bytes((folder / "mono.ogg").read_bytes() + (folder / f"{second}.ogg").read_bytes())
    file = soundfile.SoundFile(path)
    seen.append((second, file.frames / rate, len(file.read()) / rate, by_av(path)))
    print(f"5 s mono + 5 s {second}: soundfile says {seen[-1][1]:.2f} s and reads {seen[-1][2]:.2f} s, PyAV: {seen[-1][3]}")
halved = all(abs(says - 5) < 0.1 and abs(reads - 5) < 0.1 for _, says, reads, _ in seen)
whole = isinstance(seen[0][3], float) and abs(seen[0][3] - 10) < 0.2
sys.exit(0 if halved and whole and seen[1][3] == "PatchWelcomeError" else "no longer so")
PYTHON
"$work/venv/bin/python" "$work/look.py" "$work"
