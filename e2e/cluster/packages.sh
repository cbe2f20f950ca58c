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
  RUNLEVEL=1 install_debian "${missing[@]}"
}
