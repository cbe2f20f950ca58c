# shellcheck shell=bash
# Packages of the distribution. Needs say.sh.

install_debian() { # PACKAGE...
  [ $# -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "install these programs first: $*"
  say "installing $*"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get install -y -qq --no-install-recommends "$@" ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; }; } </dev/null >/dev/null ||
    die "the packages could not be installed; see the message above"
}

# The stores that tests talk to. Their packages would start servers of their own.
install_stores() {
  local missing=()
  compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
  command -v redis-server >/dev/null || missing+=(redis-server)
  # What the pages on services use.
  command -v curl >/dev/null || missing+=(curl)
  command -v jq >/dev/null || missing+=(jq)
  RUNLEVEL=1 install_debian "${missing[@]}"
}

# Prints the path of schemathesis, of one version and outside of the checkout.
install_schemathesis() { # VERSION
  install_python schemathesis "$1"
}

# Prints the path of a program of PyPI that is called like its package.
install_python() { # NAME VERSION
  local folder=${VISIOBOOK_CACHE:-$HOME/.cache/visiobook}/tools/$1-$2
  if [ ! -x "$folder/bin/$1" ]; then
    { python3 -c 'import ensurepip, venv' 2>/dev/null || install_debian python3-venv; } >&2
    say "installing $1 $2" >&2
    rm -rf "$folder"
    python3 -m venv "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$1==$2" >&2 || { rm -rf "$folder"; return 1; }
  fi
  echo "$folder/bin/$1"
}
