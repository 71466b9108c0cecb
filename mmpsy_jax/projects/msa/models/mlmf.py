"""MLMF (Yu et al. 2020, ACL, CH-SIMS): LMF with heads that read one modality alone, as MMSA's MLMF.py."""

from mmpsy_jax.projects.msa.models import lmf
from mmpsy_jax.projects.msa.sequences import UnimodalHeads


class Model(UnimodalHeads, lmf.Model):
    """Participants' windows -> outputs per head; attributes as of both classes."""
