#!/usr/bin/env bash
# Audits with the baseline's salt, so that both answer the same requests, then holds one to the other.
#   BASELINE=bundle [DIGEST=sha256] [AUDIT="suite.size=mini ..."] [LIMITS=gate.yaml] [OUT=runs] bash .ci/gate.sh
# DIGEST is that of the baseline's manifest, told by somebody who is not the candidate's author.
# Leaves in a new folder below OUT: gate (the bundle), gate.xml (JUnit), gate.md, gate.json (benchmark).
set -euo pipefail
: "${BASELINE:?name the folder of a bundle}"
OUT=${OUT:-runs}
command -v un0bench >/dev/null || { echo "gate: no un0bench on the path. In a clone: make install, then PATH=\$PWD/.venv/bin:\$PATH" >&2; exit 2; }
[ -f "$BASELINE/manifest.json" ] || { echo "gate: $BASELINE is no finished bundle (no manifest.json). Make one: un0bench audit name=before out=bundles" >&2; exit 2; }
read -r -d '' -a settings <<<"${AUDIT:-}" || true # words of all lines
salt=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["salt"])' "$BASELINE/manifest.json")
mkdir -p "$OUT"
OUT=$(mktemp -d "$OUT/gate.XXXXXX")
un0bench audit name=gate "out=$OUT" "salt=$salt" ${settings[@]+"${settings[@]}"}
code=0
un0bench gate "$OUT/gate" --baseline "$BASELINE" ${LIMITS:+--limits "$LIMITS"} ${DIGEST:+--digest "$DIGEST"} \
  --junit "$OUT/gate.xml" --markdown "$OUT/gate.md" --benchmark "$OUT/gate.json" || code=$?
if [ -f "$OUT/gate.md" ]; then cat "$OUT/gate.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"; fi
echo "gate: gate.xml, gate.md and gate.json lie in $OUT"
echo "bundle=$OUT/gate" >>"${GITHUB_OUTPUT:-/dev/null}"
exit "$code"
