# shellcheck shell=bash
# A cluster that already exists: the context must be named, so that no test meets a cluster by accident.

# Not VISIOBOOK_STATE, which may be set for a local cluster that must not lose its files to this one.
STATE=${XDG_STATE_HOME:-$HOME/.local/state}/visiobook/current

need_context() {
  [ -n "${CLUSTER_CONTEXT:-}" ] || die "name the context to use: CLUSTER=current CLUSTER_CONTEXT=... (see 'kubectl config get-contexts')"
}

# A kubeconfig of one context: nothing below can stray to another cluster.
cluster_up() {
  need_context
  local context
  context=$(kubectl config view --minify --flatten --context "$CLUSTER_CONTEXT") ||
    die "there is no context '$CLUSTER_CONTEXT'; see 'kubectl config get-contexts'"
  mkdir -p "$STATE"
  (umask 077 && echo "$context" >"$STATE/kubeconfig")
  kubectl --kubeconfig "$STATE/kubeconfig" version >/dev/null ||
    die "the cluster of context '$CLUSTER_CONTEXT' does not answer"
  say "using the cluster of context $CLUSTER_CONTEXT"
}

cluster_load() {
  die "images cannot be loaded into an existing cluster; push them to a registry it reads: $*"
}

# Where pods reach this machine, if they can: only who runs the tests knows.
cluster_host() { echo "${VISIOBOOK_HOST:-}"; }

cluster_kubeconfig() { echo "$STATE/kubeconfig"; }

# The cluster is not ours: only the copied kubeconfig goes.
cluster_down() {
  rm -rf "$STATE"
}

cluster_status() {
  need_context
  kubectl --kubeconfig "$STATE/kubeconfig" get nodes
}
