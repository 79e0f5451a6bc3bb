#!/usr/bin/env bash
# Shows that the package works with one version of Ray: makes an environment with it, installs the
# package there, runs the plugin's tests and a short training (a tuned example, up to the proof of
# what it has learned), and prints the figures in one line.
#
#     tests/compat.sh RAY_VERSION [PYTHON]        such as: tests/compat.sh 2.60.0 python3.13
#
# All other packages are those of constraints.txt. The environment is removed at the end, unless
# COMPAT_VENV names a folder for it; one that is there already is used again.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 1 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
ray=$1 python=${2:-python3}
export OMP_NUM_THREADS=1 RAY_worker_niceness=0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
venv=${COMPAT_VENV:-$folder/venv}
[ -e "$venv/bin/python" ] || "$python" -m venv "$venv"
. "$venv/bin/activate"
sed "s/^ray==.*/ray==$ray/" constraints.txt > "$folder/constraints.txt"
pip install --quiet -c "$folder/constraints.txt" -e ".[dev]"

pytest tests/plugin --junit-xml="$folder/tests.xml"
rllib example run tmaze-ppo --storage-path "$folder" --experiment-name maze

python - "$folder" <<'END'
import glob, json, platform, sys
from importlib.metadata import version
from xml.etree import ElementTree

folder = sys.argv[1]
tests = ElementTree.parse(f"{folder}/tests.xml").find("testsuite").attrib
with open(glob.glob(f"{folder}/maze/*/result.json")[0]) as results:
    last = json.loads(results.readlines()[-1])
print(
    f"Ray {version('ray')}, Python {platform.python_version()}, PyTorch {version('torch')}: "
    f"{int(tests['tests']) - int(tests['skipped'])} tests passed, {tests['skipped']} skipped; "
    f"T-Maze {'proven' if last['certified'] == 1 else 'NOT PROVEN'} "
    f"after {last['num_env_steps_sampled_lifetime']:,.0f} env steps, {last['time_total_s']:.0f} s"
)
sys.exit(last["certified"] != 1)
END
