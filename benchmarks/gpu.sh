#!/usr/bin/env bash
# The gpt template on one CUDA card beside karpathy/autoresearch, without a network: benchmarks/gpu.py says how.
#
#   benchmarks/gpu.sh --data FOLDER --peer FOLDER [--minutes 9] [--out FOLDER] [--resume gpu.json] [--write]
#   benchmarks/gpu.sh --dry-run                  the same in small on a CPU, in a minute
#
# FOLDER of --data is made beforehand, anywhere: python -m benchmarks.gpu pack --corpus stdlib --out FOLDER
# Takes the python3 that is there, or $PYTHON; installs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
for package in torch numpy; do
    "$python" -c "import importlib.util, sys; sys.exit(not importlib.util.find_spec('$package'))" ||
        { echo "gpu.sh: $python has no $package; set PYTHON to one that has, nothing is installed here" >&2; exit 2; }
done
export PYTHONPATH="$PWD:$PWD/src${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "$python" -m benchmarks.gpu run "$@"
