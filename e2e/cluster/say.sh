# shellcheck shell=bash
# What the harness prints. Results go to stdout, everything else to stderr.

say() { printf '[%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}
