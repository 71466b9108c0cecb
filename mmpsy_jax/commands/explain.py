"""`launch.py explain`: what a finished run attended to in an interview, and what mattered."""

from mmpsy_jax.commands import add_inputs, find_published, parser_of, print_end
from mmpsy_jax.inference.explain import PAGE, explain


def main(arguments: list[str]) -> int:
    """Runs the verb; returns the exit status."""
    parser = parser_of("explain", output="folder for page, table and JSON file: about one person")
    add_inputs(parser)
    parser.add_argument("--participant", default=None, help="id; needed where the input holds several")
    parser.add_argument("--task", default=None, help="default: the first task of the run")
    parser.add_argument("--show_text", action="store_true", help="the page shows the words of the transcript")
    options = parser.parse_args(arguments)
    explain(
        options.workdir,
        options.input,
        options.output,
        participant=options.participant,
        task=options.task,
        modalities=options.modalities,
        encoders=options.encoder,
        ignore=options.ignore,
        published=find_published(options.input, options.layout, options.workdir),
        show_text=options.show_text,
    )
    print_end(options.workdir, f"{options.output}/{PAGE}")
    return 0
