"""Numbers in the type that they are stored in."""

import numpy as np
import pytest

from mmpsy_jax.features.windows import cast
from mmpsy_jax.io import InputError


def test_numbers_that_fit_are_rounded_and_no_others():
    values = np.array([0.1, -65504.0, 65519.0], np.float32)  # the last one rounds down to the largest of float16
    np.testing.assert_array_equal(cast(values, np.float16, "text"), np.array([0.1, -65504, 65504], np.float16))
    assert cast(values, np.dtype("float32"), "text") is values
    np.testing.assert_array_equal(cast(np.array([3, 70_000]), np.int32, "ids"), [3, 70_000])
    with pytest.raises(InputError, match=r"^text: up to 6.552e\+04 do not fit float16 \(at most 65504\): do it$"):
        cast(np.array([1.0, -65520.0], np.float32), np.float16, "text", "do it")
    for wrong in (np.nan, np.inf):
        for kind in ("float16", "float32"):
            with pytest.raises(InputError, match=r"^audio: 1 of 3 numbers are not finite: leave it out"):
                cast(np.array([1.0, wrong, 7e4], np.float32), np.dtype(kind), "audio")
