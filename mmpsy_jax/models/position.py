"""Where tokens lie in an interview: codes of times that are added to them.

Letters of shapes: s windows, n tokens per window, d width, k periods.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Dtype = jax.typing.DTypeLike


def fourier_angles(
    seconds: Float[Array, "..."], bands: int, shortest: float, longest: float
) -> tuple[Float[Array, "... k"], Float[Array, "... k"]]:
    """Sine and cosine of a time in seconds at `bands` periods spaced evenly in log from `longest` to `shortest`."""
    angle = 2 * jnp.pi * seconds[..., None].astype(jnp.float32) / jnp.geomspace(longest, shortest, bands)
    return jnp.sin(angle), jnp.cos(angle)


class FourierPosition(nn.Module):
    """[sin t, cos t] W of the times t = start + step, without the sines of all tokens.

    sin(a + b) = sin a cos b + cos a sin b, and cos likewise: the steps of a window, the same for all windows, turn the
    kernel, and the starts alone are looked up.
    """

    width: int
    bands: int
    shortest: float
    longest: float
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, start_s: Float[Array, " s"], steps: Float[Array, " n"]) -> Float[Array, "s n d"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (2 * self.bands, self.width))
        periods = (self.bands, self.shortest, self.longest)
        of_sine, of_cosine = jnp.split(kernel[:, None], 2)  # [k 1 d]
        sine, cosine = (x.T[..., None] for x in fourier_angles(steps, *periods))  # [k n 1]
        turned = jnp.concatenate([of_sine * cosine - of_cosine * sine, of_sine * sine + of_cosine * cosine])
        starts = jnp.concatenate(fourier_angles(start_s, *periods), axis=-1)
        flat = jnp.matmul(starts.astype(self.dtype), turned.reshape(2 * self.bands, -1).astype(self.dtype))
        return flat.reshape(start_s.shape[0], len(steps), self.width)  # exported for any number of windows


class TimePosition(nn.Module):
    """Adds where a token lies in the interview, in seconds, so that windows of a participant form one time line.

    Tokens lie at the same steps after the start of each window.

    Attributes:
      kind: "fourier" (fixed features, learned projection) or "learned" (a table over the time line, linearly
        interpolated) or "none".
      longest: seconds covered: the longest Fourier period, or the end of the learned table.
      bands: number of Fourier periods, or of entries of the table.
      shortest: shortest Fourier period in seconds.
    """

    kind: str = "fourier"
    longest: float = 1200.0
    bands: int = 16
    shortest: float = 2.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "s n d"], start_s: Float[Array, " s"], steps: Float[Array, " n"]
    ) -> Float[Array, "s n d"]:
        width = x.shape[-1]
        if self.kind == "none":
            return x
        if self.kind == "fourier":
            periods = (self.bands, self.shortest, self.longest)
            return x + FourierPosition(width, *periods, dtype=self.dtype, name="projection")(start_s, steps)
        if self.kind == "learned":
            table = self.param("table", nn.initializers.normal(0.02), (self.bands, width))
            place = jnp.clip((start_s[:, None] + steps) / self.longest, 0.0, 1.0) * (self.bands - 1)
            low = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, self.bands - 2)
            part = (place - low)[..., None]
            return x + (table[low] * (1 - part) + table[low + 1] * part).astype(x.dtype)
        raise ValueError(f"time position {self.kind!r}: choose one of: fourier, learned, none")
