#!/usr/bin/env bash
# All that gains from an accelerator, in calls of at most ten minutes; call again to go on.
#   OUT=results bash un0_model/recipes/gpu.sh          (make gpu, make gpu STAGE=train)
# STAGE=train trains judge, un0 and dense at BUDGET for CALL_S seconds, STAGE=audit audits with NVML on
# the freshly trained weights; without STAGE the one, then the other. STAGE=sweep trains un0 on with a new
# pool for each number of neurons that serve, KEEPS, and tells how each stands on val and what its gate
# costs. What outlasts a call goes on in the next. Each finished recipe and the bundle without images go
# to $OUT as an archive, each point of a sweep too. On a machine that lost runs/gpu-train, archives in
# .gpu/ are taken up.
# Where torch is built without our other packages, wheels in .whl/ are put beside it.
set -euo pipefail
OUT=${OUT:-runs/gpu}
CALL_S=${CALL_S:-560}
DEVICE=${DEVICE:-cuda}
BUDGET=${BUDGET:-gpu}
WORK=${WORK:-runs/gpu-train}
STAGE=${STAGE:-}
KEEPS=${KEEPS:-3 8 27 82 273 819} # of 8,192 a layer: 0.04% to 10%
SWEEP_STEPS=${SWEEP_STEPS:-2000}
case "$STAGE" in
  "" | train | audit | sweep) ;;
  *) echo "make gpu: STAGE=$STAGE is unknown; choose train, audit or sweep, or leave it out" >&2; exit 2 ;;
esac
PY=${PY:-$([ -x .venv/bin/python ] && echo .venv/bin/python || command -v python3)}
if compgen -G ".whl/*.whl" >/dev/null; then
  "$PY" -m pip install -q --no-index --no-deps --no-cache-dir --upgrade --target /tmp/site .whl/*.whl
  export PYTHONPATH="$PWD:/tmp/site"
fi
export PYTHONPATH="${PYTHONPATH:-$PWD}"
bench() { "$PY" -m harness.cli "$@"; }
"$PY" -c "import torch, sys; sys.exit('$DEVICE' == 'cuda' and not torch.cuda.is_available())" ||
  { echo "make gpu: no CUDA device here; use make train for the CPU budget" >&2; exit 2; }

mkdir -p "$OUT" "$WORK"
for archive in .gpu/{judge,un0,dense}.tar.gz; do
  if [ -f "$archive" ]; then tar -C "$WORK" -xzf "$archive"; fi
done

left() { echo $((CALL_S - SECONDS)); }
unfinished() {
  echo "make gpu: not finished; call it again, at once or with \$OUT's archives in .gpu/" >&2
  exit 3
}
recipes="judge un0 dense"
[ "$STAGE" != sweep ] || recipes=un0
for recipe in $recipes; do
  if [ ! -f "$WORK/$recipe/training.json" ]; then
    if [ "$STAGE" = audit ] || [ "$STAGE" = sweep ]; then
      echo "make gpu: $WORK holds no finished $recipe; call STAGE=train first" >&2
      exit 2
    fi
    [ "$(left)" -gt 20 ] || unfinished
    code=0
    bench train "$recipe" budget="$BUDGET" device="$DEVICE" out="$WORK/$recipe" limit_s="$(left)" || code=$?
    [ "$code" != 3 ] || unfinished
    [ "$code" = 0 ] || exit "$code"
  fi
  # what is shipped, with its curves, grids and cost; not the state a training resumes from
  (cd "$WORK" && find "$recipe" -type f ! -name 'state.safetensors' ! -name '*.npy' -print0 &&
    find "$recipe" -path '*/reference/features.npy' -print0) |
    tar -C "$WORK" --null -czf "$OUT/$recipe.tar.gz" -T -
done

[ "$STAGE" != train ] || exit 0
if [ "$STAGE" = sweep ]; then
  points=()
  for keep in $KEEPS; do
    point="$WORK/sweep/keep-$keep"
    points+=("$point")
    if [ -f ".gpu/keep-$keep.tar.gz" ]; then
      mkdir -p "$WORK/sweep" && tar -C "$WORK/sweep" -xzf ".gpu/keep-$keep.tar.gz"
    fi
    [ ! -f "$point/training.json" ] || continue
    [ "$(left)" -gt 20 ] || unfinished
    code=0
    bench train un0 budget="$BUDGET" device="$DEVICE" base="$WORK/un0" only=tokens shape.keep="$keep" \
      steps="$SWEEP_STEPS" out="$point" limit_s="$(left)" || code=$?
    [ "$code" != 3 ] || unfinished
    [ "$code" = 0 ] || exit "$code"
    tar -C "$WORK/sweep" --exclude=state.safetensors --exclude='*.npy' -czf "$OUT/keep-$keep.tar.gz" "keep-$keep"
  done
  "$PY" -m un0_model.recipes.sweep "${points[@]}"
  tar -czf "$OUT/sweep.tar.gz" un0_model/weights/training/sweep.json docs/images/sweep.svg
  exit 0
fi
[ "$(left)" -gt 60 ] || unfinished
if [ -d "$WORK/audits/gpu" ]; then
  asked=(--resume name=gpu out="$WORK/audits")
else
  # shellcheck disable=SC2206
  asked=(name=gpu meter=all out="$WORK/audits"
    systems.dense.model="$WORK/dense/pipeline" systems.dense.device="$DEVICE" systems.dense.cheaper=
    systems.un0.model="$WORK/un0" systems.un0.device="$DEVICE" ${AUDIT_ARGS:-})
fi
code=0
timeout -s INT "$(left)" "$PY" -m harness.cli audit "${asked[@]}" || code=$?
[ "$code" != 3 ] && [ "$code" != 124 ] || unfinished
[ "$code" = 0 ] || exit "$code"
tar -C "$WORK/audits" --exclude=gpu/images -czf "$OUT/bundle.tar.gz" gpu
