# shellcheck shell=bash
# A cluster from bare programs in one network namespace: needs root on Linux, no container engine.
# Host, node, pods and Services reach each other; nothing in it reaches beyond the machine.

STATE=${VISIOBOOK_STATE:-/var/tmp/visiobook/cluster}
NODE=node-1

# 198.18.0.0/15 is reserved for benchmarks, so it meets nobody's network.
NAMESPACE=visiobook
HOST_LINK=visiobook-host
NETWORK=198.18.0.0/15
HOST_IP=198.18.254.1
NODE_IP=198.18.254.2
PODS=198.18.0.0/17
NODE_PODS=198.18.0.0/23
SERVICES=198.19.0.0/16
# shellcheck disable=SC2034 # certificates.sh names it
API_SERVICE_IP=198.19.0.1
PAUSE_IMAGE=visiobook.local/pause:1
# Says that the state folder is ours to delete.
MARK=.visiobook-cluster

# In starting order. kwok starts with the first simulated node.
COMPONENTS=(containerd etcd apiserver controller-manager scheduler kubelet proxy coredns metrics-server)

. "$HERE/packages.sh"
. "$HERE/processes.sh"
. "$HERE/certificates.sh"

# --- what the machine must have -------------------------------------------------

install_packages() {
  local need missing=() had_containerd=
  for need in containerd:containerd runc:runc /usr/lib/cni/bridge:containernetworking-plugins ip:iproute2 \
    nft:nftables iptables:iptables buildah:buildah openssl:openssl curl:curl gcc:gcc; do
    command -v "${need%:*}" >/dev/null || missing+=("${need#*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  ! command -v containerd >/dev/null || had_containerd=yes
  install_debian "${missing[@]}"
  # The package starts a daemon of its own; nobody asked for that one.
  if [ -z "$had_containerd" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now containerd >&2 || true
  fi
}

# --- network --------------------------------------------------------------------

in_namespace() { nsenter --net="/run/netns/$NAMESPACE" "$@"; }

make_network() {
  ip netns add $NAMESPACE
  ip link add $HOST_LINK type veth peer name eth0 netns $NAMESPACE
  # Tells whose cluster this is, as the addresses allow one per machine.
  ip link set $HOST_LINK alias "$STATE"
  ip addr add $HOST_IP/30 dev $HOST_LINK
  ip link set $HOST_LINK up
  ip -n $NAMESPACE addr add $NODE_IP/30 dev eth0
  ip -n $NAMESPACE link set eth0 up
  ip -n $NAMESPACE link set lo up
  ip route add $NETWORK via $NODE_IP dev $HOST_LINK
  in_namespace sysctl -qw net.ipv4.ip_forward=1
  # Absent without the br_netfilter module; then bridged traffic is not filtered anyway.
  in_namespace sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null || true
}

# The state folder of a cluster that another VISIOBOOK_STATE brought up.
foreign_cluster() {
  local owner
  owner=$(cat /sys/class/net/$HOST_LINK/ifalias 2>/dev/null) || return 1
  [ -n "$owner" ] && [ "$owner" != "$STATE" ] && [ -d "$owner" ] && echo "$owner"
}

# --- components -----------------------------------------------------------------

render() { # CONFIG [TOKEN=VALUE...]
  local config=$1 pair expressions=()
  shift
  for pair in STATE="$STATE" NODE_IP=$NODE_IP NODE_PODS=$NODE_PODS PAUSE_IMAGE=$PAUSE_IMAGE "$@"; do
    expressions+=(-e "s|@${pair%%=*}@|${pair#*=}|g")
  done
  sed "${expressions[@]}" "$HERE/config/$config"
}

write_configs() {
  mkdir -p "$STATE/cni"
  echo "nameserver $NODE_IP" >"$STATE/resolv.conf"
  render cni.conflist >"$STATE/cni/10-visiobook.conflist"
  render containerd.toml >"$STATE/containerd.toml"
  render kubelet.yaml >"$STATE/kubelet.yaml"
  # 1.30 refuses what it does not know yet.
  [ "${VISIOBOOK_KUBERNETES:-}" != 1.30 ] || sed -i '/^failCgroupV1:/d' "$STATE/kubelet.yaml"
  render Corefile >"$STATE/Corefile"
}

# shellcheck disable=SC2054,SC2206 # constants without spaces; commas belong to the flags
# Sets COMMAND, so that a component always restarts with the same flags.
command_of() { # COMPONENT
  local pki=$STATE/pki
  case $1 in
    containerd) COMMAND=(containerd --config "$STATE/containerd.toml") ;;
    etcd) COMMAND=(etcd --data-dir "$STATE/etcd" --unsafe-no-fsync
      --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
      --listen-peer-urls http://127.0.0.1:2380) ;;
    apiserver) COMMAND=(kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=6443
      # EndpointSlices refuse loopback addresses.
      --bind-address=$NODE_IP --advertise-address=$NODE_IP
      --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key"
      --client-ca-file="$pki/ca.crt"
      --service-account-key-file="$pki/service-accounts.pub"
      --service-account-signing-key-file="$pki/service-accounts.key"
      --service-account-issuer=https://kubernetes.default.svc
      --service-cluster-ip-range=$SERVICES --allow-privileged=true
      --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction
      --kubelet-client-certificate="$pki/admin.crt" --kubelet-client-key="$pki/admin.key"
      # Otherwise logs and exec look the node's name up in DNS.
      --kubelet-preferred-address-types=InternalIP
      --enable-aggregator-routing=true
      --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key"
      --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy-client
      --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group
      --requestheader-username-headers=X-Remote-User
      --max-requests-inflight=2000 --max-mutating-requests-inflight=1000
      --audit-policy-file="$HERE/config/audit-policy.yaml" --audit-log-path="$STATE/audit.log"
      --audit-log-maxsize=500 --audit-log-maxbackup=2) ;;
    controller-manager) COMMAND=(kube-controller-manager --leader-elect=false
      --kubeconfig="$pki/controller-manager.kubeconfig"
      --authentication-kubeconfig="$pki/controller-manager.kubeconfig"
      --authorization-kubeconfig="$pki/controller-manager.kubeconfig"
      --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt"
      --use-service-account-credentials
      --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
      --allocate-node-cidrs --cluster-cidr=$PODS --node-cidr-mask-size="${NODE_PODS#*/}"
      --service-cluster-ip-range=$SERVICES --flex-volume-plugin-dir="$STATE/kubelet/volume-plugins"
      --kube-api-qps=500 --kube-api-burst=1000
      # So that a test sees an autoscaler scale up and down.
      --horizontal-pod-autoscaler-sync-period=5s
      --horizontal-pod-autoscaler-downscale-stabilization=15s) ;;
    scheduler) COMMAND=(kube-scheduler --leader-elect=false --kubeconfig="$pki/scheduler.kubeconfig"
      --authentication-kubeconfig="$pki/scheduler.kubeconfig"
      --authorization-kubeconfig="$pki/scheduler.kubeconfig"
      --kube-api-qps=500 --kube-api-burst=1000) ;;
    # --containerd is cAdvisor's: without it no figure of a container says whose it is.
    kubelet) COMMAND=(kubelet --config="$STATE/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig"
      --containerd="$STATE/containerd.sock"
      --root-dir="$STATE/kubelet" --cert-dir="$STATE/kubelet/pki"
      --hostname-override=$NODE --node-ip=$NODE_IP) ;;
    proxy) COMMAND=(kube-proxy --kubeconfig="$pki/proxy.kubeconfig" --proxy-mode=nftables
      --cluster-cidr=$PODS --hostname-override=$NODE --bind-address=$NODE_IP --oom-score-adj=0
      # These settings belong to the whole machine, not to the namespace.
      --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0
      --conntrack-tcp-timeout-close-wait=0)
      # There nftables are an alpha.
      [ "${VISIOBOOK_KUBERNETES:-}" != 1.30 ] || COMMAND+=(--feature-gates=NFTablesProxyMode=true) ;;
    coredns) COMMAND=(coredns -conf "$STATE/Corefile") ;;
    metrics-server) COMMAND=(metrics-server --kubeconfig="$STATE/kubeconfig"
      --authentication-kubeconfig="$STATE/kubeconfig" --authorization-kubeconfig="$STATE/kubeconfig"
      --secure-port=10443 --bind-address=$NODE_IP --cert-dir="$STATE/metrics-server"
      --kubelet-insecure-tls --kubelet-preferred-address-types=InternalIP
      # The lowest value it accepts is above ten seconds.
      --metric-resolution=15s) ;;
    kwok) COMMAND=(kwok --kubeconfig="$STATE/kubeconfig" --cidr=$PODS
      --manage-all-nodes=false --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake
      --node-lease-duration-seconds=40
      --config="$(simulation_stages)") ;;
    *) die "no component '$1'; there are: ${COMPONENTS[*]} kwok" ;;
  esac
}

simulation_stages() {
  local stages stage list=
  stages=$(family_dir kwok)/stage
  for stage in "$stages"/node/fast/node-initialize.yaml \
    "$stages"/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml \
    "$stages"/pod/fast/pod-{ready,complete,delete}.yaml; do
    list+=${list:+,}$stage
  done
  echo "$list"
}

start() { # COMPONENT
  local COMMAND
  ! running_pid "$1" >/dev/null || return 0
  command_of "$1"
  spawn "$1" nsenter --net="/run/netns/$NAMESPACE" "${COMMAND[@]}"
  [ "$1" != apiserver ] || wait_for 60 "the API server" api_ready
}

stop() { # COMPONENT
  local COMMAND
  command_of "$1"
  # An API server with open watches takes far longer to leave by itself.
  stop_process "$1" 5
}

# --- readiness ------------------------------------------------------------------

wait_for() { # SECONDS WHAT COMMAND...
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || die "$what did not become ready; look into $STATE/log, then run 'up' again"
    sleep 0.1
  done
}

api_ready() {
  curl -fsS --max-time 2 --cacert "$STATE/pki/ca.crt" --cert "$STATE/pki/admin.crt" --key "$STATE/pki/admin.key" \
    "https://$NODE_IP:6443/readyz" >/dev/null 2>&1
}

containerd_ready() { ctr --address "$STATE/containerd.sock" version >/dev/null 2>&1; }

admin() { kubectl --kubeconfig "$STATE/kubeconfig" "$@"; }

node_ready() { # NODE
  [ "$(admin get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null)" = True ]
}

all_running() {
  local component
  for component in "${COMPONENTS[@]}"; do running_pid "$component" >/dev/null || return 1; done
}

healthy() { [ -f "$STATE/complete" ] && all_running && api_ready && node_ready $NODE; }

# --- removing every trace -------------------------------------------------------

# Works on any half-built or half-removed state, whether containerd still answers or not.
clean() {
  local component container shim address cgroup sandbox
  # First those that would start pods anew.
  for component in kubelet kwok controller-manager; do stop_process "$component" 0; done
  # runc ends all processes of a container, also those whose parent is gone.
  for container in "$STATE"/runc/k8s.io/*/; do
    [ -d "$container" ] || continue
    runc --root "$STATE/runc/k8s.io" delete --force "$(basename "$container")" >&2 || true
  done
  for component in "${COMPONENTS[@]}" kwok; do stop_process "$component" 0; done
  for shim in $(own_shims); do kill -KILL "$shim" 2>/dev/null || true; done
  # Shims listen outside of the state folder.
  for address in "$STATE"/containerd/state/io.containerd.runtime.v2.task/k8s.io/*/address; do
    [ -f "$address" ] || continue
    rm -f "$(sed 's|^unix://||' "$address")"
  done
  awk -v state="$STATE/" 'index($2, state) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n1 umount -l
  if ! foreign_cluster >/dev/null; then
    ip link del $HOST_LINK 2>/dev/null || true
    ip netns del $NAMESPACE 2>/dev/null || true
    # Ours alone: rmdir refuses a cgroup that holds a process.
    for cgroup in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/kubepods; do
      [ ! -d "$cgroup" ] || find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
  fi
  # Fixed paths of kubelet and CNI, outside of the state folder.
  find /var/log/containers -lname "$STATE/*" -delete 2>/dev/null || true
  for sandbox in "$STATE"/containerd/root/io.containerd.grpc.v1.cri/sandboxes/*/; do
    rm -f /var/lib/cni/results/*"-$(basename "$sandbox")-"*
  done
  rm -f /var/lib/kubelet/device-plugins/kubelet.sock
  rmdir /var/log/containers /var/lib/cni/{results,} /var/lib/kubelet/{device-plugins,} 2>/dev/null || true
  # The mark goes last: without it the next run would take the rest for somebody else's.
  [ ! -d "$STATE" ] || find "$STATE" -xdev -mindepth 1 ! -path "$STATE/$MARK" -delete
  rm -rf --one-file-system "$STATE"
}

# A shim names the socket of its containerd on its command line.
own_shims() {
  local process arguments
  for process in /proc/[0-9]*; do
    mapfile -d '' arguments 2>/dev/null <"$process/cmdline" || continue
    [[ ${arguments[0]:-} == *containerd-shim-runc-v2 && " ${arguments[*]} " == *" -address $STATE/containerd.sock "* ]] || continue
    basename "$process"
  done
}

# --- the interface --------------------------------------------------------------

# One at a time: a second 'up' waits, then finds the cluster ready.
prepare() {
  local other
  [ "$(id -u)" = 0 ] || die "the local cluster needs root: use sudo, or CLUSTER=kind"
  mkdir -p "$CACHE"
  exec 8>"$CACHE/local-cluster.lock"
  flock 8
  if [ -d "$STATE" ] && [ ! -e "$STATE/$MARK" ] && [ -n "$(ls -A "$STATE")" ]; then
    die "VISIOBOOK_STATE=$STATE holds other files, which would be lost; name an empty or new folder"
  fi
  if other=$(foreign_cluster); then
    die "another local cluster is up; take it down first: VISIOBOOK_STATE=$other $HERE/cluster down"
  fi
}

cluster_up() {
  local component pause
  prepare
  if healthy; then
    say "the cluster is up"
    return
  fi
  install_packages
  build_tools
  pause=$("$HERE/images/build" pause)
  if [ -d "$STATE" ] || ip netns list | grep -q "^$NAMESPACE\b"; then
    say "clearing away an unfinished or broken cluster"
    clean
  fi
  mkdir -p "$STATE"
  touch "$STATE/$MARK"
  say "starting the control plane"
  make_network
  write_configs
  start containerd
  start etcd
  make_certificates
  start apiserver
  say "starting the node"
  start controller-manager
  start scheduler
  wait_for 30 containerd containerd_ready
  cluster_load "$pause"
  for component in kubelet proxy coredns metrics-server; do start $component; done
  render metrics-server.yaml | admin apply -f - >/dev/null
  [ "${VISIOBOOK_KUBERNETES:-}" != 1.30 ] || render metrics-server-1.30.yaml | admin apply -f - >/dev/null
  wait_for 60 "the node" node_ready $NODE
  wait_for 30 "the default service account" default_account_exists
  touch "$STATE/complete"
  say "the cluster is up: export KUBECONFIG=$STATE/kubeconfig"
}

# Pods are refused until the controller manager has made it.
default_account_exists() { admin get serviceaccount default -n default >/dev/null 2>&1; }

cluster_load() { # IMAGE_TAR...
  local tar
  for tar; do
    ctr --address "$STATE/containerd.sock" --namespace k8s.io images import "$tar" >/dev/null ||
      die "$tar could not be loaded; is the cluster up?"
  done
}

# Where pods reach this machine.
cluster_host() { echo $HOST_IP; }

cluster_kubeconfig() { echo "$STATE/kubeconfig"; }

cluster_down() {
  prepare
  clean
  rmdir "$(dirname "$STATE")" 2>/dev/null || true
  say "the cluster is down"
}

cluster_status() {
  local component pid
  for component in "${COMPONENTS[@]}" kwok; do
    pid=$(running_pid "$component") || pid=-
    printf '%-20s %s\n' "$component" "$pid"
  done
  healthy || die "the cluster is not up; start it with 'make cluster-up'"
  admin get nodes
}

cluster_start() { start "$1"; }
cluster_stop() { stop "$1"; }
cluster_restart() {
  stop "$1"
  start "$1"
}

cluster_simulate_node() { # NAME CPU MEMORY GPU
  start kwok
  render simulated-node.yaml NAME="$1" CPU="$2" MEMORY="$3" GPU="$4" | admin apply -f - >/dev/null
  wait_for 30 "node $1" node_ready "$1"
}

cluster_remove_node() { # NAME
  admin delete node "$1" --ignore-not-found >/dev/null
  admin delete pods --all-namespaces --field-selector "spec.nodeName=$1" --force --grace-period=0 >/dev/null 2>&1
}
