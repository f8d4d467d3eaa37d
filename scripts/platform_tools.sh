#!/usr/bin/env bash
# Puts what checks platform/ as it is deployed into .tools/: no root, nothing outside the repository.
#
#   bin/helm     from PATH where that has Helm 3 or 4, else built with Go (scripts/helm/go.mod)
#   bin/checkov  in an environment of its own (scripts/checkov.txt)
#   bin/hadolint likewise (scripts/hadolint.txt)
#   bin/shellcheck likewise (scripts/shellcheck.txt)
#   bin/amtool   of Alertmanager, as scripts/fetch_tools.py finds it
#   crds/        schemas of the custom resources that our charts and Argo CD's manifests make, and of
#                Compose files, as their projects publish them
#
# Expects `make setup` to have run. A tool that cannot be had is one line that says what to install;
# the tests that need it are skipped and say so. With FAULTLOAD_REQUIRE_PLATFORM_TOOLS=1, as in CI, it
# ends with 69 instead. Does nothing, quickly, when what it reads has not changed since.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
readonly tools=$root/.tools log=$root/.tools/platform.log ready=$root/.tools/platform-ready
readonly inputs="scripts/platform_tools.sh scripts/helm/go.mod scripts/helm/go.sum scripts/checkov.txt scripts/hadolint.txt scripts/shellcheck.txt scripts/fetch_tools.py"

# Module, version, and Go's checksum of it, then the files with its schemas.
readonly CRDS="
github.com/kedacore/keda/v2 v2.21.0 h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps= config/crd/bases/*.yaml
github.com/prometheus-operator/prometheus-operator v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s= example/prometheus-operator-crd/*.yaml
github.com/argoproj/argo-cd/v3 v3.3.0 h1:9UlruTd5cC/MyvorTXgAIblfZTy63MF5FYvvoAaUvwU= manifests/crds/*-crd.yaml
github.com/compose-spec/compose-go/v2 v2.16.2 h1:pTp1DqQwJzFd85GzlWsSszKA1ABrV/ySqsClujIcWA8= schema/compose-spec.json
"

missing=0

main() {
  if is_ready; then return; fi
  mkdir -p "$tools/bin"
  rm -f "$ready"
  : >"$log"
  have Helm get_helm "install Helm 3 or 4, or Go $(go_version) or later to build it with"
  have "schemas of custom resources" get_crds "install Go $(go_version) or later"
  have Checkov get_checkov "run: make setup"
  have amtool get_amtool "install prometheus-alertmanager"
  have hadolint get_hadolint "run: make setup"
  have ShellCheck get_shellcheck "run: make setup"
  if [ "$missing" -eq 0 ]; then
    printf '%s\n' "$root" >"$ready"
  elif [ "${FAULTLOAD_REQUIRE_PLATFORM_TOOLS:-}" = 1 ]; then
    exit 69
  fi
}

is_ready() {
  [ -f "$ready" ] && [ "$(cat "$ready")" = "$root" ] || return 1
  local input
  for input in $inputs; do
    if [ "$input" -nt "$ready" ]; then return 1; fi
  done
}

have() {
  local name=$1 get=$2 remedy=$3 start=$SECONDS
  printf 'platform tools: %s … ' "$name"
  printf '\n== %s\n' "$name" >>"$log"
  # A shell of its own: `set -e` does not hold in a function whose answer is asked for.
  if bash "$root/scripts/platform_tools.sh" "$get" >>"$log" 2>&1; then
    printf '%d s\n' $((SECONDS - start))
    return
  fi
  printf 'not to be had\n'
  printf 'platform tools: %s: %s; %s (all of it: .tools/platform.log)\n' \
    "$name" "$(grep -v '^ *$' "$log" | tail -n 1)" "$remedy" >&2
  missing=1
}

stop() {
  printf '%s\n' "$1"
  exit 1
}

go_version() {
  awk '$1 == "go" {print $2}' scripts/helm/go.mod
}

# Helm 4 lints and templates as Helm 3 does; what came before cannot read our charts.
get_helm() {
  local found version
  # .tools/bin may be on PATH itself, and must not be found as what it links to.
  found=$(PATH=$(without "$tools/bin") type -P helm || true)
  version=$(if [ -n "$found" ]; then "$found" version --template '{{.Version}}' || true; fi)
  case $version in
    v3.* | v4.*) ;;
    *)
      build_helm
      found=$tools/helm/helm
      ;;
  esac
  ln -sfn "$found" "$tools/bin/helm"
  "$tools/bin/helm" version
}

without() {
  local path=:$PATH:
  path=${path//:$1:/:}
  path=${path#:}
  printf '%s' "${path%:}"
}

build_helm() {
  type -P go || stop "neither Helm 3 or 4 nor go is on PATH"
  local version kubernetes
  version=$(cd scripts/helm && go list -m -f '{{.Version}}' helm.sh/helm/v3)
  # k8s.io/client-go v0.37.0 is Kubernetes 1.37: what Helm takes a cluster for that it was not told.
  kubernetes=$(cd scripts/helm && go list -m -f '{{.Version}}' k8s.io/client-go | cut -d . -f 2)
  mkdir -p "$tools/helm"
  # Minutes of a processor: with the least priority, and one package at a time, others can work on.
  (cd scripts/helm && CGO_ENABLED=0 nice -n 15 go build -p 1 -trimpath -buildvcs=false \
    -ldflags "-s -w -X helm.sh/helm/v3/internal/version.version=$version \
      -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 \
      -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=$kubernetes \
      -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 \
      -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=$kubernetes" \
    -o "$tools/helm/helm" helm.sh/helm/v3/cmd/helm)
}

# A module is checked by Go against its public log of checksums, and against ours here.
get_crds() {
  type -P go || stop "go is not on PATH"
  local new=$tools/crds.partial module version sum files answer
  rm -rf "$new"
  mkdir -p "$new"
  while read -r module version sum files; do
    [ -n "$module" ] || continue
    answer=$(cd "$tools" && go mod download -json "$module@$version") || stop "$answer"
    case $answer in
      *"\"Sum\": \"$sum\""*) ;;
      *) stop "$module $version: expected the checksum $sum, found: ${answer//$'\n'/}" ;;
    esac
    # shellcheck disable=SC2086  # a pattern of names without spaces, in a folder that may have some
    (cd "$(printf '%s' "$answer" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')" && install -m 644 $files "$new")
  done <<<"$CRDS"
  rm -rf "$tools/crds"
  mv "$new" "$tools/crds"
}

get_checkov() { get_package checkov; }
get_hadolint() { get_package hadolint; }
get_shellcheck() { get_package shellcheck; }

# A program from PyPI, in an environment of its own, with the hashes of scripts/NAME.txt.
get_package() {
  local name=$1 uv=$tools/uv/bin/uv
  [ -x "$uv" ] || uv=$(type -P uv) || stop "uv is neither in .tools/ nor on PATH"
  unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
  export UV_PYTHON_DOWNLOADS=never UV_PYTHON_PREFERENCE=only-system
  if [ -s /etc/ssl/certs/ca-certificates.crt ]; then export UV_SYSTEM_CERTS=true; fi
  "$uv" venv --clear --python "$root/.venv/bin/python" "$tools/$name"
  "$uv" pip install --quiet --python "$tools/$name/bin/python" --require-hashes -r "scripts/$name.txt"
  ln -sfn "$tools/$name/bin/$name" "$tools/bin/$name"
  "$tools/bin/$name" --version
}

get_amtool() {
  "$root/.venv/bin/python" scripts/fetch_tools.py --only alertmanager
}

"${1:-main}"
