#!/usr/bin/env bash
# Installs the Debian packages that building and testing need, as far as they are missing.
# Without the right to install, prints the one line to run and fails.
set -euo pipefail

build=(gcc make pkg-config liblmdb-dev libcurl4-openssl-dev libjansson-dev libuv1-dev
  libmicrohttpd-dev libgnutls28-dev libssl-dev libzstd-dev libcyaml-dev libsystemd-dev
  nginx-dev)
test=(libcmocka-dev bats python3 curl jq openssl ca-certificates procps util-linux iproute2 man-db g++
  clang libclang-rt-14-dev nginx libnginx-mod-http-lua luajit2 lua-cjson)
bench=(redis-server libhiredis-dev libsqlite3-dev librocksdb-dev libcdb-dev wrk lua-nginx-redis)
lint=(clang-format clang-tidy cppcheck shellcheck lua-check)

case "${1:-all}" in
  build) wanted=("${build[@]}") ;;
  demo) wanted=("${build[@]}" curl jq nginx) ;;
  test) wanted=("${build[@]}" "${test[@]}") ;;
  bench) wanted=("${build[@]}" "${test[@]}" "${bench[@]}") ;;
  all | lint) wanted=("${build[@]}" "${test[@]}" "${bench[@]}" "${lint[@]}") ;;
  *)
    echo "usage: $0 [build|demo|test|bench|lint|all]" >&2
    exit 2
    ;;
esac

missing=()
for package in "${wanted[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
if [ "$(id -u)" = 0 ]; then
  as_root=()
elif sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  echo "missing Debian packages; run:" >&2
  echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" "${install[@]}" "${missing[@]}"
