"""Draws grey faces whose brows, eyes, nose and mouth follow cues, shaded so that OpenCV's frontal cascade finds them.

What the cascade looks for is the contrast of dark eyes with cheeks and nose bridge, and of brows with the forehead, in
a bright oval; hence the shadows. All shapes and constants are our choice; nobody's face was a model.
"""

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Look:
    """A person: lengths in units of half the head's width, grey values between 0 and 1.

    Attributes:
      height: of the head, from the middle.
      eyes: distance of each eye from the middle.
      eye: half the width of an eye.
      brow: thickness of the brows.
      nose: length of the nose.
      mouth: half the width of the mouth.
      skin, hair: grey values.
      fringe: how far above the eyes the hair ends.
    """

    height: float
    eyes: float
    eye: float
    brow: float
    nose: float
    mouth: float
    skin: float
    hair: float
    fringe: float


def draw_look(rng: np.random.Generator) -> Look:
    """A person by chance."""
    return Look(
        height=rng.uniform(1.25, 1.4),
        eyes=rng.uniform(0.40, 0.47),
        eye=rng.uniform(0.16, 0.20),
        brow=rng.uniform(0.035, 0.06),
        nose=rng.uniform(0.45, 0.55),
        mouth=rng.uniform(0.30, 0.38),
        skin=rng.uniform(0.65, 0.85),
        hair=rng.uniform(0.08, 0.4),
        fringe=rng.uniform(0.65, 0.85),
    )


def draw_faces(
    pictures: Float[np.ndarray, "t h w"],
    look: Look,
    cues: Float[np.ndarray, "t 6"],
    centre: Float[np.ndarray, "t 2"],
    half: float | Float[np.ndarray, " t"],
) -> Float[np.ndarray, "t h w"]:
    """The pictures with a head in front of each.

    Args:
      pictures: grey values between 0 and 1.
      look: of the person.
      cues: `demo_truth.FACE_CUES` times the intensity of the moment; zeros are a neutral face.
      centre: x and y of the middle between the eyes, in pixels.
      half: half the width of the head in pixels.
    """
    half = np.broadcast_to(half, len(pictures)).astype(np.float32)[:, None, None]
    cues = np.clip(cues, -2.5, 2.5).astype(np.float32)[:, :, None, None]
    height, slant, opening, curve, mouth_opening, wrinkle = (cues[:, i] for i in range(cues.shape[1]))
    rows, columns = np.arange(pictures.shape[1], dtype=np.float32), np.arange(pictures.shape[2], dtype=np.float32)
    x = (columns[None, None, :] - centre[:, 0, None, None].astype(np.float32)) / half
    y = (rows[None, :, None] - centre[:, 1, None, None].astype(np.float32)) / half
    side = np.abs(x)
    edge = half  # an edge is about two pixels wide

    def step(inside):
        """1 where `inside`, a length, is positive, 0 where it is negative."""
        return 0.5 + 0.5 * np.clip(edge * inside, -1, 1)

    def oval(across, down, a, b):
        return step((1 - np.sqrt((across / a) ** 2 + (down / b) ** 2)) * np.minimum(a, b))

    def shadow(across, down, a, b):
        return np.exp(-0.5 * ((across / a) ** 2 + (down / b) ** 2))

    def paint(under, mask, grey):
        return under + mask * (grey - under)

    canvas = pictures.astype(np.float32)
    middle = look.height - 0.95  # the eyes lie above the middle of the head
    canvas = paint(canvas, oval(x, y - middle + 0.12, 1.1, look.height + 0.1), look.hair)
    face = np.float32(look.skin) * (1.05 - 0.22 * x**2 - 0.06 * (y - 0.3) ** 2)
    face = face * (1 - 0.40 * shadow(side - look.eyes, y + 0.03, 0.24, 0.14))
    face = paint(face, 0.5 * shadow(x, y - 0.2, 0.09, 0.22), min(1.0, 1.2 * look.skin))
    face = paint(face, 0.4 * shadow(side - 0.55, y - 0.42, 0.2, 0.16), min(1.0, 1.15 * look.skin))

    # A wrinkled nose is shorter, and has lines across its bridge.
    tip = look.nose - 0.06 * wrinkle
    face = face * (1 - 0.45 * shadow(x, y - tip, 0.17, 0.045))
    lines = sum(step(0.025 - np.abs(y - at)) for at in (0.04, 0.14)) * step(0.17 - side)
    face = face * (1 - np.clip(0.35 * wrinkle, 0, 0.7) * lines)

    tall = np.maximum(0.085 * (1 + 0.7 * opening), 0.015)
    face = paint(face, oval(side - look.eyes, y, look.eye + 0.04, tall + 0.035), 0.35 * look.skin)
    white = oval(side - look.eyes, y, look.eye, tall)
    face = paint(face, white, 0.9)
    face = paint(face, white * oval(side - look.eyes, y, 0.085, 0.085), 0.08)

    arch = -0.30 - 0.10 * height + 0.55 * slant * (side - look.eyes) * 0.45
    brow = step(look.brow - np.abs(y - arch)) * step(0.25 - np.abs(side - look.eyes))
    face = paint(face, brow, min(look.hair, 0.35 * look.skin))

    wide = look.mouth * (1 + 0.08 * curve)
    along = np.minimum((x / wide) ** 2, 1.5)
    lips = look.nose + 0.38 - 0.13 * curve * (along - 0.4)
    apart = 0.075 * np.maximum(mouth_opening, 0) * np.maximum(1 - along, 0)
    inside = np.abs(y - lips) - apart
    ends = step(wide - side)
    face = paint(face, step(0.055 - 0.02 * np.minimum(along, 1) - inside) * ends, 0.5 * look.skin)
    face = paint(face, step(apart - 0.015 - np.abs(y - lips)) * ends, 0.1)
    face = face * (1 - 0.2 * shadow(x, y - look.nose - 0.62, 0.3, 0.05))

    face = paint(face, step(-look.fringe - y), look.hair)
    return paint(canvas, oval(x, y - middle, 1.0, look.height), np.clip(face, 0, 1))
