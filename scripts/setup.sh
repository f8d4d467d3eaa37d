#!/usr/bin/env bash
# Puts everything the project needs into .venv/ and .tools/: no root, nothing outside the repository.
#
# Needs Python 3.11 or later; everything else is fetched. Prints one line a step, and the whole log
# when a step fails. Ends with 0, or with 69 and one line that says what to install. Does nothing,
# quickly, when what it reads (`inputs` below) has not changed since it last came through.
set -euo pipefail

readonly UV_VERSION=0.13.8
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
readonly tools=$root/.tools log=$root/.tools/setup.log ready=$root/.tools/ready
readonly inputs="uv.lock pyproject.toml platform/pyproject.toml scripts/fetch_tools.py scripts/setup.sh"

main() {
  if is_ready; then return; fi
  mkdir -p "$tools" || stop "$tools cannot be made: this checkout must be writable"
  rm -f "$ready"
  : >"$log"
  local python uv
  python=$(find_python)
  # Settings of this machine that would send our packages elsewhere.
  unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
  export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1
  export PIP_ROOT_USER_ACTION=ignore
  export UV_PYTHON=$python UV_PYTHON_DOWNLOADS=never UV_PYTHON_PREFERENCE=only-system
  export UV_PROJECT_ENVIRONMENT=$root/.venv
  # The machine's own certificates, where it has some: a company's proxy may have added its own.
  if [ -s /etc/ssl/certs/ca-certificates.crt ]; then export UV_SYSTEM_CERTS=true; fi
  # pip and uv share the user's caches; where there is no home to write to, ours take their place.
  if ! mkdir -p "${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}" 2>/dev/null; then
    export XDG_CACHE_HOME=$tools/cache
  fi
  uv=$(find_uv)
  if [ -z "$uv" ]; then
    step "uv $UV_VERSION into .tools/uv" fetch_uv "$python"
    uv=$tools/uv/bin/uv
  fi
  step "Python packages from uv.lock into .venv" "$uv" sync --frozen
  step "Prometheus and Redis" "$root/.venv/bin/python" scripts/fetch_tools.py
  printf '%s\n' "$root" >"$ready"
}

# The checkout's path is part of the answer: a virtual environment does not survive being moved.
is_ready() {
  [ -x .venv/bin/python ] && [ -f "$ready" ] && [ "$(cat "$ready")" = "$root" ] || return 1
  local input
  for input in $inputs; do
    if [ "$input" -nt "$ready" ]; then return 1; fi
  done
}

step() {
  local name=$1 start=$SECONDS
  shift
  printf 'setup: %s … ' "$name"
  printf '\n== %s\n' "$name" >>"$log"
  if "$@" >>"$log" 2>&1; then
    printf '%d s\n' $((SECONDS - start))
    return
  fi
  printf 'failed\n'
  cat "$log" >&2
  stop "$name failed; the lines above say why, and they are in .tools/setup.log"
}

stop() {
  printf 'setup: %s\n' "$1" >&2
  exit 69
}

# The interpreter behind an active virtual environment, since ours must not rest on another one.
find_python() {
  local name found=""
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    command -v "$name" >/dev/null || continue
    found=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
      "$name" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))'
      return
    fi
  done
  stop "expected Python 3.11 or later on PATH, found ${found:-none}; install one and try again"
}

# Our own copy, or one on PATH that is no older than the pinned minor version: it reads uv.lock.
find_uv() {
  local uv version
  for uv in "$tools/uv/bin/uv" "$(command -v uv || true)"; do
    [ -x "$uv" ] || continue
    version=$("$uv" --version 2>/dev/null | awk '{print $2}')
    if newer_minor "$version" "$UV_VERSION"; then
      printf '%s\n' "$uv"
      return
    fi
  done
}

newer_minor() {
  awk -v have="$1" -v want="$2" 'BEGIN {
    split(have, h, "."); split(want, w, ".")
    exit !(h[1] > w[1] || (h[1] == w[1] && h[2] + 0 >= w[2] + 0))
  }'
}

# Debian's Python comes without pip, and its venv without ensurepip: each way covers for the last.
fetch_uv() {
  local python=$1 new=$tools/uv.partial
  rm -rf "$new" "$tools/uv"
  install_uv "$new" "$python" -m pip ||
    { "$python" -m venv "$tools/pip" && install_uv "$new" "$tools/pip/bin/python" -m pip; } ||
    { debian_pip && install_uv "$new" "$python" "$(echo "$tools"/pip-debian/usr/share/python-wheels/pip-*.whl)/pip"; } ||
    {
      echo "expected pip, to fetch uv with; found none that works: install python3-pip," \
        "python3-venv or uv $UV_VERSION, and try again"
      return 1
    }
  mv "$new" "$tools/uv"
  "$tools/uv/bin/uv" --version
}

install_uv() {
  local to=$1
  shift
  "$@" install --quiet --no-input --target "$to" "uv==$UV_VERSION"
}

# pip as Debian packages it for its own venv module: a wheel, which runs without being installed.
debian_pip() {
  local home=$tools/debian
  mkdir -p "$home/lists/partial" "$home/cache/archives/partial"
  local apt=(-q -o "Dir::State::Lists=$home/lists" -o "Dir::Cache=$home/cache" -o APT::Sandbox::User=)
  apt-get "${apt[@]}" update &&
    (cd "$home" && apt-get "${apt[@]}" download python3-pip-whl) &&
    dpkg-deb -x "$home"/python3-pip-whl_*.deb "$tools/pip-debian"
}

main
