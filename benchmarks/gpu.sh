#!/usr/bin/env bash
# The benchmarks on one GPU, each part with a limit of its own.
#
#   bash benchmarks/gpu.sh [PART...]      all parts, or those named; tables and logs go to $OUT (default: runs/gpu)
#
# Made for a machine without a network whose Python 3.12 holds jax (CUDA), flax, optax, orbax, scikit-learn, transformers
# and PyTorch. What else we import travels as wheels in the folder .whl of the repository (17 MB), made where there is one:
#
#   fetch="python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp -d .whl
#          --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64
#          --platform manylinux2014_x86_64"
#   for p in array-record grain ml-collections tensorflow-datasets tensorboardx mlcroissant dm-tree immutabledict \
#       simple-parsing tensorflow-metadata toml termcolor docstring-parser beartype importlib-resources ply rdflib \
#       googleapis-common-protos threadpoolctl decorator simplejson; do $fetch "$p==$(sed -n "s/^$p==//p" requirements.txt)"; done
#   python3 -m pip wheel --no-deps -w .whl promise==2.3 jsonpath-rw==1.4.0      # published as source only
#
# Tried with such an environment on a CPU (jax 0.11.2, numpy 2.5.2, Python 3.12.1) before it was sent to a GPU.
set -u
cd "$(dirname "$0")/.."
OUT="${OUT:-runs/gpu}"
PY="${PY:-python3}"
WHEELS="${WHEELS:-.whl}"
SITE=/tmp/mmpsy_site
DATA=/tmp/mmpsy_data
mkdir -p "$OUT"
export TF_CPP_MIN_LOG_LEVEL=1 PYTHONUNBUFFERED=1
export XLA_PYTHON_CLIENT_PREALLOCATE=false  # PyTorch shares the memory in one process

if [ -d "$WHEELS" ]; then
  # --no-deps: nothing may replace the machine's jax.
  "$PY" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$SITE" "$WHEELS"/*.whl \
    || exit 1
  export PYTHONPATH="$SITE"
fi
{ nvidia-smi; "$PY" -m pip list; "$PY" -c 'import jax; print(jax.__version__, jax.devices())'; } > "$OUT/machine.txt" 2>&1

part() {  # part NAME SECONDS COMMAND...: output to $OUT/NAME.txt
  local name=$1 limit=$2 began=$SECONDS
  shift 2
  timeout "$limit" "$@" > "$OUT/$name.txt" 2>&1 || echo "$name ended with status $?" | tee -a "$OUT/$name.txt"
  echo "== $name: $((SECONDS - began)) s"
  tail -n 14 "$OUT/$name.txt" | cut -c 1-200
}
folder() {  # the built demo corpus
  [ -d "$DATA/mmpsy" ] || part build 90 env JAX_PLATFORMS=cpu "$PY" launch.py build --dataset=mmpsy/demo --data_dir="$DATA"
}
step() { part "train_step_$1" 150 "$PY" benchmarks/train_step.py --preset="$1" --device=gpu --dtype=bfloat16 --rounds=5; }

for name in "${@:-all}"; do
  case $name in
    small | all) step small ;;&
    large | all) step large ;;&
    ablations | all)
      part ablations 120 "$PY" benchmarks/train_step.py --preset=small --device=gpu --dtype=bfloat16 --ablations --rounds=5 ;;&
    configs | all) part configs 120 "$PY" benchmarks/train_step.py --configs --device=gpu --dtype=bfloat16 --rounds=5 ;;&
    loop_profile | all)
      folder
      part loop_profile 90 "$PY" benchmarks/loop_profile.py --dataset_dir="$DATA/mmpsy/demo/1.0.0" ;;&
    cross_validation | all)
      folder
      part cross_validation 240 "$PY" benchmarks/cross_validation.py --dataset_dir="$DATA/mmpsy/demo/1.0.0" --device=gpu \
        --dtype=bfloat16 --torch_trainings=2 ;;&
    encoders | all)
      part encoders 200 "$PY" benchmarks/encoders.py --device=gpu --dtype=bfloat16 --attention=xla --rounds=5 --limit=12
      part encoders_train 120 "$PY" benchmarks/encoders.py --device=gpu --dtype=bfloat16 --train --models=bert-base --rounds=5 ;;&
    input_pipeline | all)
      folder
      part input_pipeline 60 "$PY" benchmarks/input_pipeline.py --dataset_dir="$DATA/mmpsy/demo/1.0.0" --rounds=5 ;;&
  esac
done
