"""ArrayRecord files without compression: features are noise to zstd, and reading them back is three times faster."""

import os
from collections.abc import Iterable

from array_record.python import array_record_module
from tensorflow_datasets.core import file_adapters
from tensorflow_datasets.core import writer as writer_lib
from tensorflow_datasets.proto import tf_example_pb2

from mmpsy_jax.errors import InputError

# One record per chunk, so that random access reads one participant and not a group. TFDS itself offers no such options.
_OPTIONS = "group_size:1,uncompressed"


class UncompressedWriter(writer_lib.ExampleWriter):
    """Writes a shard for TFDS; its unmodified readers read the result."""

    def __init__(self):
        super().__init__(file_format=file_adapters.FileFormat.ARRAY_RECORD)

    def write(self, path: os.PathLike, examples: Iterable[tuple[object, bytes]]) -> None:
        """Writes serialised records to one file.

        Raises:
          InputError: the file cannot be written (most often: no space left).
        """
        written = array_record_module.ArrayRecordWriter(os.fspath(path), _OPTIONS)
        try:
            for _, example in examples:
                _checked(written.write, path, _in_fixed_order(example))
        finally:
            _checked(written.close, path)


def _in_fixed_order(example: bytes) -> bytes:
    """The same record with its features in one order: protobuf's own differs from process to process."""
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)


def _checked(call, path: os.PathLike, *arguments) -> None:
    # Only calls into the writer: errors of the records themselves keep their own message.
    try:
        call(*arguments)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be written ({error}): free some space or give another --data_dir") from error
