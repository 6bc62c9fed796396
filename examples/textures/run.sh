#!/bin/sh
# Defects in a folder of textures, in five commands: sh examples/textures/run.sh [FOLDER [more keys of dcgmm train]]
# A folder that is there already is taken as it is.
set -e
root=${1:-textures}
[ $# -eq 0 ] || shift
auto="outliers.score=auto outliers.false_alarms=0.05 outliers.maps=true"

[ -d "$root" ] || python "$(dirname "$0")/generate.py" "$root"
dcgmm train arch=textures dataset=folder dataset.path="$root/data" dataset.color=true 'trainer.tile=[32,32]' trainer.steps=2500 "$@"
dcgmm outliers run=latest $auto                     # judged by images of which it is known what they are
dcgmm outliers run=latest $auto input="$root/new"   # new ones: scores.csv, maps/
dcgmm show run=latest format=html                   # one page with all figures and pictures
