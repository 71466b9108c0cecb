"""`launch.py explain`: what a finished run attended to in an interview, and what mattered."""

import argparse

import mmpsy_jax
from mmpsy_jax.commands import print_end
from mmpsy_jax.inference.explain import PAGE, explain


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(prog="launch.py explain", description=mmpsy_jax.DISCLAIMER)
    parser.add_argument("--workdir", required=True, help="of a finished run; all its folds and seeds are averaged")
    parser.add_argument("--input", required=True, help="folder or file of interviews, or a folder of built records")
    parser.add_argument("--output", required=True, help="folder for page, table and JSON file: about one person")
    parser.add_argument("--participant", default=None, help="id; needed where the input holds several")
    parser.add_argument("--task", default=None, help="default: the first task of the run")
    parser.add_argument("--modalities", default=None, help="names with commas: read these only, the rest is absent")
    parser.add_argument("--encoder", nargs="+", default=(), help="folders of the networks that embed, if moved")
    parser.add_argument("--show_text", action="store_true", help="the page shows the words of the transcript")
    options = parser.parse_args(arguments)
    explain(
        options.workdir,
        options.input,
        options.output,
        participant=options.participant,
        task=options.task,
        modalities=options.modalities.split(",") if options.modalities else None,
        encoders=options.encoder,
        show_text=options.show_text,
    )
    print_end(options.workdir, f"{options.output}/{PAGE}")
    return 0
