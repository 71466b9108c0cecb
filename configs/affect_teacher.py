"""Seven emotions, valence and arousal of a speaker's face (docs/affect_video.md).

python launch.py --config=configs/affect_teacher.py                       the built-in demo (SYNTHETIC)
python launch.py --config=configs/affect_teacher.py --config.cv.folds=5 --config.seeds=3
python launch.py --config=configs/affect_teacher.py --config.data.dataset=affect_video/clips --config.data.source=DIR
  --config.data.participants=0
python launch.py --config=configs/affect_teacher.py:emotion --config.data.dataset=affect_video/meld
  --config.data.source=MELD --config.data.participants=0       clips without valence and arousal

The paper gives no result of a teacher.
"""

from data_builders.affect_video.clips import EMOTIONS
from mmpsy_jax.projects.affect import presets


def get_config(labels: str = ""):
    """Faces alone; `labels` is "emotion" for clips without valence and arousal."""
    return presets.experiment("affect_teacher", "teacher", ("face",), EMOTIONS, labels).lock()
