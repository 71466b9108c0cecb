"""Systems of single papers: each folder holds what that paper alone needs.

The trunk imports none of it; `registry.py` finds its models and objectives by name.
"""
