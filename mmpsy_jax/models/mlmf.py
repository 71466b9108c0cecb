"""MLMF (Yu et al. 2020, ACL, CH-SIMS): LMF with heads that read one modality alone, as MMSA's MLMF.py."""

from mmpsy_jax.models import lmf
from mmpsy_jax.models.sequences import WithOwnHeads


class Model(WithOwnHeads, lmf.Model):
    """Participants' windows -> outputs per head; attributes as of both classes."""
