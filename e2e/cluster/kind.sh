# shellcheck shell=bash
# A cluster in a container engine, for machines that have one. DRY_RUN=1 prints the commands instead.

KIND_NAME=${KIND_NAME:-visiobook}
# Not VISIOBOOK_STATE, which may be set for a local cluster that must not lose its files to this one.
STATE=${XDG_STATE_HOME:-$HOME/.local/state}/visiobook/kind

run() {
  if [ -n "${DRY_RUN:-}" ]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

need_kind() {
  [ -n "${DRY_RUN:-}" ] || command -v kind >/dev/null || die "install kind (https://kind.sigs.k8s.io), or use CLUSTER=local"
}

kind_exists() { [ -z "${DRY_RUN:-}" ] && kind get clusters 2>/dev/null | grep -qx "$KIND_NAME"; }

cluster_up() {
  need_kind
  run mkdir -p "$STATE"
  if kind_exists; then
    run kind export kubeconfig --name "$KIND_NAME" --kubeconfig "$STATE/kubeconfig"
  else
    run kind create cluster --name "$KIND_NAME" --config "$HERE/config/kind.yaml" \
      --kubeconfig "$STATE/kubeconfig" --wait 120s
  fi
}

cluster_load() { # IMAGE_TAR...
  local tar
  need_kind
  for tar; do run kind load image-archive "$tar" --name "$KIND_NAME"; done
}

# Where pods reach this machine.
cluster_host() {
  [ -n "${DRY_RUN:-}" ] || docker network inspect kind --format '{{range .IPAM.Config}}{{println .Gateway}}{{end}}' 2>/dev/null |
    grep -m 1 -F . || true
}

cluster_kubeconfig() { echo "$STATE/kubeconfig"; }

cluster_down() {
  need_kind
  run kind delete cluster --name "$KIND_NAME" --kubeconfig "$STATE/kubeconfig"
  run rm -rf "$STATE"
}

cluster_status() { run kubectl --kubeconfig "$STATE/kubeconfig" get nodes; }
