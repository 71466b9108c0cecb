"""`launch.py ablate`: what each modality, and each minute, gives."""

from mmpsy_jax.commands import train


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    return train.main(arguments, ablate=True)
