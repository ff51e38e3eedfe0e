#!/usr/bin/env bash
# Rewrites requirements.lock: hashes, no registry address. Run after a dependency changed: make lock
set -euo pipefail
cd "$(dirname "$0")/.."
# third-party deps from all members
python3 - <<'P' > /tmp/members.in
import tomllib,glob,re
seen=set()
own={"crossfade-common","localaws","faust-kinesis","engagement-migration"}
for f in ["pyproject.toml",*glob.glob("libs/*/pyproject.toml"),*glob.glob("services/*/pyproject.toml"),*glob.glob("migrations/*/pyproject.toml"),"demo/pyproject.toml"]:
    d=tomllib.load(open(f,"rb"))
    for x in [*d["project"]["dependencies"],*d.get("dependency-groups",{}).get("dev",[])]:
        if re.split(r"[=<>!~\[ ]",x)[0] not in own: seen.add(x)
print("\n".join(sorted(seen)))
P
.venv/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header /tmp/members.in -c requirements.in requirements.in -o requirements.lock
