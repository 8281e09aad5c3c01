#!/usr/bin/env bash
# `make lambda`: the vault's worker as a package for AWS Lambda (runtime provided.al2023). It is for
# the processor that builds it: x86_64 for the architecture x86_64, aarch64 for arm64.
# LAMBDA_TARGET names another target of rustc that is installed, LAMBDA_PROFILE=dev a quick build.
. "$(dirname "$0")/lib.sh"

require_rust
have python3 || apt_install python3

profile=${LAMBDA_PROFILE:-release}
flags=(--profile "$profile" --locked -p artifacts-artifactsd --bin bootstrap)
flags+=(--no-default-features --features worker)
built=$target/${profile/#dev/debug}
if [ -n "${LAMBDA_TARGET:-}" ]; then
    flags+=(--target "$LAMBDA_TARGET")
    built=$target/$LAMBDA_TARGET/${profile/#dev/debug}
fi

case ${LAMBDA_TARGET:-$(uname -m)} in
x86_64*) arch=x86_64 ;;
aarch64*) arch=arm64 ;;
*) die "AWS Lambda has no processor ${LAMBDA_TARGET:-$(uname -m)}" \
    "build on x86_64 or aarch64, or give LAMBDA_TARGET" ;;
esac

say "building the worker for AWS Lambda ($arch, $profile)"
cargo build "${flags[@]}"
# The runtime provided.al2023 has 2.34; a program that needs more would not start there.
needs=$(objdump -T "$built/bootstrap" 2>/dev/null | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1 || true)
newest=$(printf '%s\n' "${needs:-GLIBC_2.34}" GLIBC_2.34 | sort -V | tail -1)
[ "$newest" = GLIBC_2.34 ] || die "the program needs $needs, and AWS Lambda has GLIBC_2.34" \
    "build on a system with glibc 2.34 or older, or give LAMBDA_TARGET=$(uname -m)-unknown-linux-musl"
package=$target/lambda/worker-$arch.zip
mkdir -p "$target/lambda"
# The same bytes give the same package: no time of day, one mode.
python3 - "$built/bootstrap" "$package" <<'PYTHON'
import sys, zipfile
program, package = sys.argv[1:]
entry = zipfile.ZipInfo("bootstrap", (1980, 1, 1, 0, 0, 0))
entry.external_attr = 0o100755 << 16
entry.compress_type = zipfile.ZIP_DEFLATED
with open(program, "rb") as file, zipfile.ZipFile(package, "w") as archive:
    archive.writestr(entry, file.read())
PYTHON
say "the package is $package ($(du -h "$package" | cut -f1)); runtime provided.al2023, handler bootstrap"
