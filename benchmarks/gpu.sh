#!/usr/bin/env bash
# All benchmarks on one GPU, in less than ten minutes. NOT RUN YET, nor its wheels tried.
#
#   bash benchmarks/gpu.sh            tables and logs go to $OUT (default: runs/gpu)
#
# The machine has its own Python 3.12 with jax (CUDA), flax, optax and orbax, and no network. What else we import must
# travel beside the repository as wheels, which this script installs into a venv that sees the machine's own packages:
#
#   WHEELS=wheels_py312       folder, relative to the repository root; made where there is a registry:
#   pip download --only-binary=:all: --python-version=3.12 --platform=manylinux_2_28_x86_64 -d wheels_py312 \
#       absl-py array_record etils grain jaxtyping jinja2 matplotlib ml-collections mlcroissant pandas portpicker \
#       pyarrow scikit-learn scipy simple-parsing tensorboardX tensorflow-datasets tqdm importlib_resources
#   rm -f wheels_py312/{jax,jaxlib,numpy,ml_dtypes,flax,optax,orbax_checkpoint,tensorstore}-*.whl   # the machine's own
#
# PyTorch is compared where it can be imported; otherwise our own numbers are measured alone. Every part has a limit and
# may fail on its own.
set -u
cd "$(dirname "$0")/.."
OUT="${OUT:-runs/gpu}"
WHEELS="${WHEELS:-wheels_py312}"
mkdir -p "$OUT"
VENV=/tmp/mmpsy_gpu
export TF_CPP_MIN_LOG_LEVEL=1 XLA_PYTHON_CLIENT_PREALLOCATE=false  # PyTorch shares the memory in one process

python3 -m venv --system-site-packages "$VENV"
PY="$VENV/bin/python"
if [ -d "$WHEELS" ]; then
  # --no-deps: nothing may replace the machine's jax.
  "$PY" -m pip install --quiet --no-index --no-deps "$WHEELS"/*.whl > "$OUT/install.txt" 2>&1 || echo "some wheels failed: $OUT/install.txt"
fi
{ nvidia-smi; "$PY" -m pip list; "$PY" -c 'import jax; print(jax.__version__, jax.devices())'; } > "$OUT/machine.txt" 2>&1
"$PY" -c 'import torch; assert torch.cuda.is_available()' 2> /dev/null && TORCH=1 || TORCH=0
echo "PyTorch with CUDA: $TORCH"

part() {  # part NAME SECONDS COMMAND...: output to $OUT/NAME.txt
  local name=$1 limit=$2
  shift 2
  timeout "$limit" "$@" > "$OUT/$name.txt" 2>&1
  local status=$?
  [ $status -eq 0 ] || echo "$name ended with status $status" | tee -a "$OUT/$name.txt"
}

DATA=/tmp/mmpsy_data
part build 90 "$PY" launch.py build --dataset=mmpsy/demo --data_dir="$DATA"

for preset in small large; do
  if [ $TORCH = 1 ]; then
    part "train_step_$preset" 120 "$PY" benchmarks/train_step.py --preset=$preset --device=gpu --dtype=bfloat16
  fi
  part "ablations_$preset" 70 "$PY" benchmarks/train_step.py --preset=$preset --device=gpu --dtype=bfloat16 --ablations
done
part configs 90 "$PY" benchmarks/train_step.py --configs --device=gpu --dtype=bfloat16

part encoders 240 "$PY" benchmarks/encoders.py --device=gpu --dtype=bfloat16 --attention=cudnn --rounds=7 --limit=12

trainings=0
[ $TORCH = 1 ] && trainings=2
part cross_validation 180 "$PY" benchmarks/cross_validation.py --dataset_dir="$DATA/mmpsy/demo/1.0.0" --device=gpu \
  --dtype=bfloat16 --torch_trainings=$trainings
part input_pipeline 60 "$PY" benchmarks/input_pipeline.py --dataset_dir="$DATA/mmpsy/demo/1.0.0" --rounds=5

tail -n 20 "$OUT"/*.txt
