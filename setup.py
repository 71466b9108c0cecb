"""What pyproject.toml cannot say: an installed package holds `configs/` as `mmpsy_jax/configs/`."""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["mmpsy_jax*", "data_builders*"]), "mmpsy_jax.configs"],
    package_dir={"mmpsy_jax.configs": "configs"},
)
