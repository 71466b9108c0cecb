"""MTFN (Yu et al. 2020, ACL, CH-SIMS): TFN with heads that read one modality alone, as MMSA's MTFN.py."""

from mmpsy_jax.projects.msa.models import tfn
from mmpsy_jax.projects.msa.sequences import UnimodalHeads


class Model(UnimodalHeads, tfn.Model):
    """Participants' windows -> outputs per head; attributes as of both classes."""
