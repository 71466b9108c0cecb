"""mmpsy_jax: questionnaire scores of depression and anxiety from speech and text, in JAX."""

__version__ = "0.1.0"

DISCLAIMER = (
    "Research software: it estimates a self-report questionnaire score (PHQ-9, GAD-7) from speech and text. "
    "It is not a diagnostic device, is not validated against clinical interviews, and must not be used for "
    "decisions about an individual."
)
