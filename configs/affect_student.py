"""Seven emotions, valence and arousal of speech alone, learned from a teacher that sees the face.

python launch.py --config=configs/affect_student.py:frozen    after configs/affect_teacher.py; the demo (SYNTHETIC)
python launch.py --config=configs/affect_student.py:unlabelled    a tenth of the training clips has labels (below)
python launch.py --config=configs/affect_student.py:joint     teacher and student trained together
python launch.py --config=configs/affect_student.py:alone     no teacher, for comparison
python launch.py discrepancy --workdir=runs/affect_student_frozen --input=data/affect_video/demo --output=DIR

:unlabelled takes a teacher that knows no more labels than the student:
  python launch.py --config=configs/affect_teacher.py --config.data.labelled_fraction=0.1
    --config.total="100 epochs" --config.selection.every="5 epochs" --workdir=runs/affect_teacher_tenth
To compare with it, the same options and another --workdir with :alone (docs/affect_video.md).

:frozen,emotion and so on: for clips without valence and arousal, such as MELD's. The frozen teacher is the run in
`runs/affect_teacher`, or --config.model.teacher=DIR. It must be of the same corpus and division (same --config.cv and
--config.seed): a teacher that has seen held-out clips is refused. Weights of losses:
--config.objective.weights.soft_targets=... (mmpsy_jax/projects/affect/objectives/distillation.py). The
paper gives no result of a student, and none of these numbers.
"""

from data_builders.affect_video.clips import EMOTIONS
from mmpsy_jax.io import one_of
from mmpsy_jax.projects.affect import presets
from mmpsy_jax.training.config import choose_objective

KINDS = ("frozen", "unlabelled", "joint", "alone")
# a T^2 KL + (1 - a) CE with a = 0.5, after Hinton et al. 2015.
WEIGHTS = {"emotion": 0.5, "valence": 1.0, "arousal": 1.0, "soft_targets": 0.5, "concordance": 0.5, "alignment": 0.5}
# Of :unlabelled, where a tenth of a batch has labels: the teacher's word counts more than theirs.
FEW_LABELS = {"emotion": 0.1, "valence": 0.1, "arousal": 0.1, "soft_targets": 1.0, "concordance": 1.0}
OF_RATINGS = ("valence", "arousal", "concordance", "teacher_valence", "teacher_arousal")
OF_TEACHER = {"teacher_emotion": 1.0, "teacher_valence": 1.0, "teacher_arousal": 1.0}


def get_config(argument: str = "frozen"):
    """Config of KIND or KIND,emotion, the argument.

    KIND is "frozen" (a finished teacher), "unlabelled" (the same where a tenth of the training clips have labels),
    "joint" (trained along) or "alone".
    """
    kind, _, labels = argument.partition(",")
    if kind not in KINDS:
        raise one_of("argument of the config", kind, KINDS)
    part, modalities = "joint" if kind == "joint" else "student", ("audio",) if kind == "alone" else ("audio", "face")
    config = presets.experiment(f"affect_student_{kind}", part, modalities, EMOTIONS, labels)
    if kind != "alone":
        weights = WEIGHTS | {"joint": OF_TEACHER, "unlabelled": FEW_LABELS}.get(kind, {})
        weights = {k: v for k, v in weights.items() if not labels or k not in OF_RATINGS}
        choose_objective(config, "distillation", weights=weights, delta=config.objective.delta)
    if kind == "frozen":
        config.model.teacher = "runs/affect_teacher"
    if kind == "unlabelled":
        config.model.teacher = "runs/affect_teacher_tenth"
        config.data.labelled_fraction = 0.1
    return config.lock()
