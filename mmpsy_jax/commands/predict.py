"""`launch.py predict`: uses a finished run on new interviews."""

from mmpsy_jax.commands import add_inputs, find_published, parser_of, print_end, print_left_out
from mmpsy_jax.inference.predict import predict


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = parser_of("predict", output="csv to write")
    add_inputs(parser)
    parser.add_argument("--no-abstain", action="store_true", help="a number also where there is a reason against it")
    options = parser.parse_args(arguments)
    failures = predict(
        options.workdir,
        options.input,
        options.output,
        modalities=options.modalities,
        encoders=options.encoder,
        ignore=options.ignore,
        published=find_published(options.input, options.layout, options.workdir),
        abstain=not options.no_abstain,
    )
    print_left_out(failures)
    print_end(options.workdir, options.output)
    return 3 if failures else 0
