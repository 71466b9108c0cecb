#!/usr/bin/env bash
# jax 0.10.2 (CPU), seen 2026-11-30.
# `compiled.cost_analysis()` is what one asks for the FLOP of a program before it runs, to plan hours on a pod. One
# would expect a `lax.scan` of 100 steps to cost a hundred times one of its steps: its length is known to the compiler.
# The number is that of a single step, whatever the length; written out as 100 products, the same arithmetic has all of
# them. It hurts whoever estimates training time from an epoch, a chunk of steps or a recurrent network under `scan`:
# the plan is too short by the length of the loop.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check jax==0.10.2
cat > "$work/look.py" <<'PYTHON'
import jax
import jax.numpy as jnp

SIZE = 64
ONE = 2 * SIZE**3


def looped(x, w, length):
    return jax.lax.scan(lambda x, _: (jnp.dot(x, w), None), x, length=length)[0]


def written_out(x, w, length):
    for _ in range(length):
        x = jnp.dot(x, w)
    return x


def flop(run, length):
    shape = jax.ShapeDtypeStruct((SIZE, SIZE), jnp.float32)
    compiled = jax.jit(lambda x, w: run(x, w, length)).lower(shape, shape).compile()
    return compiled.cost_analysis()["flops"] / ONE


for length in (10, 100):
    print(f"{length} products: scan {flop(looped, length):.2f}, written out {flop(written_out, length):.2f} products' FLOP")
same = abs(flop(looped, 100) - flop(looped, 10)) < 0.1 and flop(looped, 100) < 2
assert same and abs(flop(written_out, 100) - 100) < 1, "cost_analysis counts the steps of a loop now"
PYTHON
JAX_PLATFORMS=cpu "$work/venv/bin/python" "$work/look.py"
