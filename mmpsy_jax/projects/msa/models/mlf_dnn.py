"""MLF-DNN (Yu et al. 2020, ACL, CH-SIMS): LF-DNN with heads that read one modality alone, as MMSA's MLF_DNN.py."""

from mmpsy_jax.projects.msa.models import lf_dnn
from mmpsy_jax.projects.msa.sequences import UnimodalHeads


class Model(UnimodalHeads, lf_dnn.Model):
    """Participants' windows -> outputs per head; attributes as of both classes."""
