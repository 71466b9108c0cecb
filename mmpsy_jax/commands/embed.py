"""`launch.py embed`: turns texts or sound into embeddings of a pretrained network."""

import argparse

import mmpsy_jax
from mmpsy_jax.commands import add_layout, find_published, print_left_out
from mmpsy_jax.inference.embed import DTYPES, EVERY, PRECISIONS, embed


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=f"{mmpsy_jax.program()} embed", description="Interviews to embeddings of a network."
    )
    parser.add_argument("--input", required=True, help="manifest, wav_select.json, or other file or folder")
    parser.add_argument("--encoder", required=True, help="Hugging Face folder: BERT reads texts, HuBERT ... hear sound")
    add_layout(parser)
    parser.add_argument("--output", required=True, help="folder to fill; one left half-done is completed")
    parser.add_argument("--whole", action="store_true", help="of texts: all tokens, not the first 512 alone")
    parser.add_argument("--every", type=int, default=EVERY, help="of sound: frames of 20 ms that are averaged")
    parser.add_argument("--channel", type=int, default=0, help="of sound: the only one that is heard, from 1; 0: all")
    parser.add_argument("--layers", type=int, nargs="+", help="hidden states to average; default: the last")
    parser.add_argument("--dtype", default="float16", choices=DTYPES, help="of the stored states")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS, help="of the computation")
    parser.add_argument("--speaker", default="", help="as at build: the participant in transcripts that name speakers")
    parser.add_argument("--omit", default="", help="as at build: what is left out")
    parser.add_argument("--interviewer", action="store_true", help="embed what the interviewer says, too")
    parser.add_argument("--batch_size", type=int, default=16)
    options = vars(parser.parse_args(arguments))
    source, encoder, output = (options.pop(name) for name in ("input", "encoder", "output"))
    published = find_published(source, options.pop("layout"))
    failures = embed(source, encoder, output, published=published, **options)
    print_left_out(failures)
    print(output)
    return 3 if failures else 0
