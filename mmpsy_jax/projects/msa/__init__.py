"""Self-MM and the fusion baselines of MMSA (docs/msa.md)."""
