"""`launch.py predict`: uses a finished run on new interviews."""

import argparse

import mmpsy_jax
from mmpsy_jax.commands import print_end, print_left_out
from mmpsy_jax.inference.predict import predict


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.py predict", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run; all its folds and seeds are averaged")
    parser.add_argument("--input", required=True, help="folder or file of interviews, or a folder of built records")
    parser.add_argument("--output", required=True, help="csv to write")
    parser.add_argument("--modalities", default=None, help="names with commas: read these only, the rest is absent")
    parser.add_argument("--encoder", nargs="+", default=(), help="folders of the networks that embed, if moved")
    parser.add_argument("--no-abstain", action="store_true", help="a number also where there is a reason against it")
    options = parser.parse_args(arguments)
    names = options.modalities.split(",") if options.modalities else None
    more = {"modalities": names, "encoders": options.encoder, "abstain": not options.no_abstain}
    failures = predict(options.workdir, options.input, options.output, **more)
    print_left_out(failures)
    print_end(options.workdir, options.output)
    return 3 if failures else 0
