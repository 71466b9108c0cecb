"""The earlier place of `data_builders.common.beam`, which serves all corpora."""

import sys

from mmpsy_jax.io import InputError

if __name__ == "__main__":
    from data_builders.common import beam  # not from a worker

    try:
        beam.main(sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
