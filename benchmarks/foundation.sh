#!/usr/bin/env bash
# The figures of docs/results/foundation.md: DATA is the folder of real scans, OUT takes runs and predictions.
# Every step is skipped where its result is there, so a stopped call goes on.
set -euo pipefail
data=$1 out=$2
mkdir -p "$out"

once() { # NAME DATASET ROLE RECIPE [OPTION...]
  local name=$1 dataset=$2 role=$3 recipe=$4
  shift 4
  [ -f "$out/$name/table.json" ] && return
  paucis train "$dataset" --out "$out/$name/run" --recipe "$recipe" --resume "$@"
  paucis predict "$out/$name/run" "$dataset" --role "$role" --out "$out/$name/predictions"
  paucis evaluate "$out/$name/predictions" "$dataset" --partial --json >"$out/$name/table.part"
  mv "$out/$name/table.part" "$out/$name/table.json"
}

once hippocampus-8 "$data/hippocampus" test hippocampus-8
once acdc-7 "$data/acdc" val acdc-7
once isic "$data/isic" val isic
once jsrt "$data/jsrt" test jsrt
once hippocampus-all "$data/hippocampus" test hippocampus-all
once hippocampus-8-two "$data/hippocampus" test hippocampus-8 train.devices=2 device=cpu
once la-h5 "$data/published_h5/la" val la-h5
