#!/usr/bin/env bash
# Audits with the baseline's salt, so that both answer the same requests, then holds one to the other.
#   BASELINE=bundle [AUDIT="suite.size=mini ..."] [LIMITS=gate.yaml] [OUT=runs] bash .ci/gate.sh
# Leaves OUT/gate (the bundle), OUT/gate.xml (JUnit), OUT/gate.md and OUT/gate.json (github-action-benchmark).
set -euo pipefail
: "${BASELINE:?name the folder of a bundle}"
OUT=${OUT:-runs}
read -ra settings <<<"${AUDIT:-}"
salt=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["salt"])' "$BASELINE/manifest.json")
un0bench audit name=gate "out=$OUT" "salt=$salt" ${settings[@]+"${settings[@]}"}
code=0
un0bench gate "$OUT/gate" --baseline "$BASELINE" ${LIMITS:+--limits "$LIMITS"} \
  --junit "$OUT/gate.xml" --markdown "$OUT/gate.md" --benchmark "$OUT/gate.json" || code=$?
if [ -f "$OUT/gate.md" ]; then cat "$OUT/gate.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"; fi
echo "bundle=$OUT/gate" >>"${GITHUB_OUTPUT:-/dev/null}"
exit "$code"
