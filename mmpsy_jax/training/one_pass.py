"""One reading of the records for all that is told of a run at its end.

Windows are by far the largest part of a corpus: who wants to see them is called with every record, one in memory at a
time, instead of reading them again.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from mmpsy_jax.data.records import Corpus


class Visitor(Protocol):
    """Somebody who sees records."""

    def wants(self, i: int) -> Sequence[str]:
        """Modalities of participant `i` that `see` looks at."""

    def see(self, i: int, record: Mapping[str, Any]) -> None:
        """Looks at a record, which has these modalities and their lengths, and perhaps others."""


def visit(corpus: Corpus, visitors: Sequence[Visitor]) -> None:
    """Reads each record once, of it what any visitor wants.

    Raises:
      InputError: a damaged shard.
    """
    for i in range(len(corpus)):
        asked = [(visitor, visitor.wants(i)) for visitor in visitors]
        names = list(dict.fromkeys(name for _, those in asked for name in those))
        if names:
            record = corpus.reader.read(i, [*names, *(f"{name}_length" for name in names)])
            for visitor, those in asked:
                if those:
                    visitor.see(i, record)
