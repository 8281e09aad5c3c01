#!/usr/bin/env bash
# Writes requirements.txt (every package, every hash) from requirements.in, for the Pythons
# named below on Linux x86_64. Run it after changing requirements.in and commit both.
set -euo pipefail
cd "$(dirname "$0")"
pythons=(3.10 3.11 3.12 3.13 3.14)
wheels=$(mktemp -d)
trap 'rm -rf "$wheels"' EXIT
for python in "${pythons[@]}"; do
    python3 -m pip download --quiet --only-binary=:all: --python-version "$python" \
        --dest "$wheels" --requirement requirements.in
done
python3 - "$wheels" > requirements.txt <<'PY'
import collections, hashlib, pathlib, sys
hashes = collections.defaultdict(set)
for wheel in sorted(pathlib.Path(sys.argv[1]).glob("*.whl")):
    name, version = wheel.name.split("-")[:2]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    hashes[(name.lower().replace("_", "-"), version)].add(digest)
print("# Written by scripts/tools/lock.sh from requirements.in; do not edit.")
for (name, version), digests in sorted(hashes.items()):
    print(f"{name}=={version} \\")
    print(" \\\n".join(f"    --hash=sha256:{d}" for d in sorted(digests)))
PY
echo "requirements.txt: $(grep -c == requirements.txt) packages"
