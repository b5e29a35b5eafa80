#!/usr/bin/env bash
# All that gains from an accelerator, in calls of at most ten minutes; run again to go on.
#   OUT=results bash un0_model/recipes/gpu.sh          (make gpu)
# Trains judge, un0 and dense at budget=gpu with what is left of CALL_S seconds, then audits with NVML
# on the freshly trained weights. Results go to $OUT: weights, curves, and the bundle without images.
set -euo pipefail
OUT=${OUT:-runs/gpu}
CALL_S=${CALL_S:-540}
AUDIT_S=150
PY=${PY:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3)}
if compgen -G ".whl/*.whl" >/dev/null; then
  "$PY" -m pip install -q --no-index --no-deps --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
  export PYTHONPATH="$PWD:/tmp/site"
fi
export PYTHONPATH="${PYTHONPATH:-$PWD}"
bench() { "$PY" -m harness.cli "$@"; }
"$PY" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' ||
  { echo "make gpu: no CUDA device here; use make train for the CPU budget" >&2; exit 2; }

mkdir -p "$OUT"
began=$SECONDS
done_all=1
for recipe in judge un0 dense; do
  left=$((CALL_S - AUDIT_S - (SECONDS - began)))
  [ "$left" -gt 20 ] || { done_all=0; break; }
  bench train "$recipe" budget=gpu device=cuda out="runs/gpu-train/$recipe" limit_s="$left" || done_all=0
done

if [ "$done_all" = 1 ]; then
  bench audit name=gpu meter=all suite.size=mini out="$OUT/runs" \
    systems.dense.model=runs/gpu-train/dense/pipeline systems.dense.device=cuda \
    systems.un0.model=runs/gpu-train/un0 systems.un0.device=cuda
  rm -rf "$OUT"/runs/gpu/images
  tar -C runs/gpu-train -czf "$OUT/dense.tar.gz" dense/pipeline
  tar -C runs/gpu-train -czf "$OUT/un0.tar.gz" un0/config.json un0/un0.safetensors
  tar -C runs/gpu-train -czf "$OUT/judge.tar.gz" judge/judge judge/reference
  tar -C "$OUT/runs" -czf "$OUT/bundle.tar.gz" gpu && rm -rf "$OUT/runs"
fi
find runs/gpu-train \( -name '*.jsonl' -o -name '*.png' -o -name '*.json' \) -size -2M -print0 |
  tar --null -czf "$OUT/curves.tar.gz" -T -
[ "$done_all" = 1 ] || { echo "make gpu: not finished; call it again while the machine is warm" >&2; exit 3; }
