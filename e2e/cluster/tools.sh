# shellcheck shell=bash
# The programs of the cluster, built once from the pinned modules in tools/.
# One go.mod per family: their dependencies would collide in a single one.

. "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

TOOLS_SOURCE=$(realpath "$(dirname "${BASH_SOURCE[0]}")")/tools
CACHE=${VISIOBOOK_CACHE:-$HOME/.cache/visiobook}
# The version that is developed against, or another one that is supported: VISIOBOOK_KUBERNETES=1.30.
KUBERNETES=kubernetes${VISIOBOOK_KUBERNETES:+-$VISIOBOOK_KUBERNETES}
[ -d "$TOOLS_SOURCE/$KUBERNETES" ] ||
  die "there is no Kubernetes '$VISIOBOOK_KUBERNETES' here: write VISIOBOOK_KUBERNETES=1.30, or leave it out"
FAMILIES=("$KUBERNETES" etcd coredns kwok metrics-server podinfo h2spec definitions)
# No part of the cluster: built by the test or the benchmark that runs them.
ON_DEMAND=(helm argocd prometheus cyclonus traefik external-secrets argo-rollouts k6)
# Programs of the distribution that they work with.
declare -A WITH=([argocd]='git redis-server')

# What a first build costs on two cores.
declare -A ESTIMATE=([kubernetes]='6 min' [kubernetes-1.30]='6 min' [etcd]='30 s' [coredns]='2 min' [kwok]='1 min' [metrics-server]='2 min' [podinfo]='30 s' [h2spec]='5 s'
  [definitions]='5 s' [helm]='2 min' [argocd]='4 min' [prometheus]='4 min' [cyclonus]='1 min'
  [traefik]='6 min' [external-secrets]='6 min' [argo-rollouts]='4 min' [k6]='2 min')

# Without these flags the programs report v0.0.0, and clients would treat the server as unversioned.
kubernetes_version_flags() { # FAMILY
  local version package
  version=$(grep -oP 'k8s.io/kubernetes \Kv\S+' "$TOOLS_SOURCE/$1/go.mod")
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=%s -X %s.gitMajor=%s -X %s.gitMinor=%s ' \
      $package "$version" $package "$(cut -d. -f1 <<<"${version#v}")" $package "$(cut -d. -f2 <<<"$version")"
  done
}

link_flags() { # FAMILY
  local flags='-s -w'
  [ "$1" != "$KUBERNETES" ] || flags+=" $(kubernetes_version_flags "$1")"
  echo "$flags"
}

# Of the ways in which Prometheus finds targets only Kubernetes': the others bring the client of every cloud.
build_tags() { # FAMILY
  [ "$1" != prometheus ] || echo 'remove_all_sd enable_kubernetes_sd'
}

family_dir() { # FAMILY
  local key
  key=$( (cat "$TOOLS_SOURCE/$1/go.mod" "$TOOLS_SOURCE/$1/go.sum"; link_flags "$1"; build_tags "$1"; go env GOVERSION) | sha256sum | cut -c1-12)
  echo "$CACHE/tools/$1-$key"
}

# The folder of a module that go.mod pins, downloaded if need be and held against go.sum.
module_folder() { # MODULE
  go mod download -json "$1@$(grep -oP "$1 \Kv\S+" go.mod)" | grep -oP '"Dir": "\K[^"]+'
}

# Files that a program reads at run time, taken from its module.
copy_data() { # FAMILY DESTINATION
  local module role
  case $1 in
    kwok)
      module=$(go list -m -f '{{.Dir}}' sigs.k8s.io/kwok)
      cp -r "$module/kustomize/stage" "$2/stage" ;;
    podinfo)
      module=$(go list -m -f '{{.Dir}}' github.com/stefanprodan/podinfo)
      cp -r "$module/ui" "$2/ui" ;;
    # CustomResourceDefinitions of others: files of their modules, of which nothing is built.
    definitions)
      mkdir "$2/crds"
      module=$(module_folder github.com/external-secrets/external-secrets)
      cp "$module/config/crds/bases/external-secrets.io_externalsecrets.yaml" "$2/crds"
      module=$(module_folder sigs.k8s.io/gateway-api)
      cp "$module/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml" "$2/crds"
      module=$(module_folder github.com/prometheus-operator/prometheus-operator)
      cp "$module"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml "$2/crds" ;;
    traefik)
      module=$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)
      cp -r "$module/config/crd/standard" "$2/crds" ;;
    external-secrets)
      module=$(go list -m -f '{{.Dir}}' github.com/external-secrets/external-secrets)
      mkdir "$2/crds"
      cp "$module/config/crds/bases/external-secrets.io_secretstores.yaml" "$2/crds" ;;
    argo-rollouts)
      module=$(go list -m -f '{{.Dir}}' github.com/argoproj/argo-rollouts)
      cp -r "$module/manifests/crds" "$2/crds" ;;
    argocd)
      module=$(go list -m -f '{{.Dir}}' github.com/argoproj/argo-cd/v3)
      cp -r "$module/manifests/crds" "$2/crds"
      # One program; its role is the name that it is called by.
      mv "$2/bin/cmd" "$2/bin/argocd"
      for role in repo-server application-controller server; do ln -s argocd "$2/bin/argocd-$role"; done ;;
  esac
  chmod -R u+w "$2"
}

build_family() { # FAMILY
  local family=$1 final partial
  final=$(family_dir "$family")
  [ ! -d "$final" ] || return 0
  mkdir -p "$CACHE/tools"
  # One builder at a time; whoever waited finds the work done.
  exec 9>"$CACHE/tools/$family.lock"
  flock 9
  if [ ! -d "$final" ]; then
    say "building $family (about ${ESTIMATE[$family]}, once)"
    partial=$final.partial
    rm -rf "$partial"
    mkdir -p "$partial/bin"
    (
      cd "$TOOLS_SOURCE/$family"
      export GOTOOLCHAIN=local CGO_ENABLED=0
      [ "$family" = definitions ] ||
        go build -trimpath -buildvcs=false -tags "$(build_tags "$family")" -ldflags "$(link_flags "$family")" -o "$partial/bin/" tool
      copy_data "$family" "$partial"
    ) || die "$family did not build; see the message above, then run 'make tools' again"
    [ ! -f "$partial/bin/server" ] || mv "$partial/bin/server" "$partial/bin/etcd"
    # The rename makes an interrupted build leave nothing that looks finished.
    mv "$partial" "$final"
  fi
  exec 9>&-
}

build_tools() { # [FAMILY...]
  local family program missing=()
  command -v go >/dev/null || die "Go is needed to build the cluster's programs; install the version named in e2e/cluster/tools/*/go.mod"
  [ $# -gt 0 ] || set -- "${FAMILIES[@]}"
  for family; do
    [ -d "$TOOLS_SOURCE/$family" ] || die "no tools '$family'; there are: ${FAMILIES[*]} ${ON_DEMAND[*]}"
    build_family "$family"
    for program in ${WITH[$family]:-}; do
      command -v "$program" >/dev/null || missing+=("$program")
    done
  done
  # A package would start a server of its own.
  RUNLEVEL=1 install_debian "${missing[@]}"
}

# The folders of the tools, as a PATH.
tools_path() { # [FAMILY...]
  local family path=
  [ $# -gt 0 ] || set -- "${FAMILIES[@]}"
  for family; do path+=${path:+:}$(family_dir "$family")/bin; done
  echo "$path"
}
