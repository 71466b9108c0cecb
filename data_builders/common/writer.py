"""ArrayRecord files without compression: features are noise to zstd, and reading them back is three times faster.

No number that is not finite is written: a NaN, or a value beyond the type of its feature, would be trained on.
"""

import os
from collections.abc import Iterable, Mapping

import numpy as np
from array_record.python import array_record_module
from tensorflow_datasets.core import file_adapters
from tensorflow_datasets.core import writer as writer_lib
from tensorflow_datasets.core.features.feature import FeatureConnector
from tensorflow_datasets.proto import tf_example_pb2

from data_builders.common.examine import require_finite
from mmpsy_jax.io import InputError

# One record per chunk, so that random access reads one participant and not a group. TFDS itself offers no such options.
_OPTIONS = "group_size:1,uncompressed"


class UncompressedWriter(writer_lib.ExampleWriter):
    """Writes a shard for TFDS; its unmodified readers read the result.

    Args:
      features: of a record.
      keeps_records: False checks them and leaves the files empty.
    """

    def __init__(self, features: Mapping[str, FeatureConnector], keeps_records: bool = True):
        super().__init__(file_format=file_adapters.FileFormat.ARRAY_RECORD)
        self._keeps_records = keeps_records
        dtypes = {name: np.dtype(feature.np_dtype) for name, feature in features.items()}
        self._floats = {name: dtype for name, dtype in dtypes.items() if dtype.kind == "f"}

    def write(self, path: os.PathLike, examples: Iterable[tuple[object, bytes]]) -> None:
        """Writes serialised records to one file.

        Raises:
          InputError: the file cannot be written (most often: no space left), or as `require_finite`.
        """
        written = array_record_module.ArrayRecordWriter(os.fspath(path), _OPTIONS)
        try:
            for _, example in examples:
                record = tf_example_pb2.Example.FromString(example)
                self._require_finite(record)
                if self._keeps_records:
                    # Protobuf's own order of the features differs from process to process.
                    _checked(written.write, path, record.SerializeToString(deterministic=True))
        finally:
            _checked(written.close, path)

    def _require_finite(self, record: tf_example_pb2.Example) -> None:
        features, values = record.features.feature, {}
        for name, dtype in self._floats.items():
            if packed := features[name].bytes_list.value:
                values[name] = np.frombuffer(packed[0], dtype)
            else:
                values[name] = np.array(features[name].float_list.value, np.float32)
        require_finite(features["participant"].bytes_list.value[0].decode(), values)


def _checked(call, path: os.PathLike, *arguments) -> None:
    # Only calls into the writer: errors of the records themselves keep their own message.
    try:
        call(*arguments)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be written ({error}): free some space or give another --data_dir") from error
