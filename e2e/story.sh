# shellcheck shell=bash
# What the demos have in common. Needs say.sh, and is sourced in the root of the repository.

# The cluster, the operator in it, and the environments of the examples: from nothing, or whatever is missing.
bring_up() {
  make --no-print-directory cluster-up image images PROFILE=trial
  eval "$(e2e/cluster/cluster env)"
  say 'installing the operator'
  e2e/install
  say 'applying the environments'
  kubectl apply --server-side --force-conflicts -f examples/environments
  kubectl wait --for=condition=Ready vbe/development vbe/staging vbe/production --timeout=60s
}

# The command line, as it lies in the image.
visiobook_program() { echo "${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/trial/visiobook"; }

step() { printf '\n--- %s\n\n' "$*"; }

# Where a Service is reached, by other pods and from this machine. From a laptop the addresses of another cluster's
# Services lead nowhere.
address() { # NAMESPACE NAME
  kubectl get service "$2" --namespace "$1" --output 'jsonpath={.spec.clusterIP}'
}

# One request after the other until the file FOLDER/stop is there, each on a connection of its own; nothing is tried
# again. FOLDER/answered and FOLDER/lost get a line for each, by whether its status is one of STATUSES.
ask_on() { # FOLDER STATUSES CURL_ARGUMENT...
  local folder=$1 statuses=$2 status
  shift 2
  touch "$folder/answered" "$folder/lost"
  while [ ! -e "$folder/stop" ]; do
    status=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "$@") || status="none ($?)"
    if [[ $status =~ ^($statuses)$ ]]; then echo "$status" >>"$folder/answered"; else echo "$status" >>"$folder/lost"; fi
    sleep 0.02
  done
}

# End it, and say what came of it; a request that was lost is an error.
stop_asking() { # FOLDER PID
  touch "$1/stop"
  wait "$2"
  echo "$(wc -l <"$1/answered") requests were answered meanwhile, $(wc -l <"$1/lost") were not"
  [ ! -s "$1/lost" ] || die "a release lost requests: $(sort "$1/lost" | uniq --count)"
}
