# shellcheck shell=bash
# Background programs, known by pid, start time and boot: a recycled pid is never taken for ours.

# Field 22 of /proc/PID/stat; the name in field 2 may hold spaces, hence the cut at its bracket.
start_time() { # PID
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra stat <<<"${stat##*) }"
  echo "${stat[19]}"
}

process_identity() { # PID
  echo "$1 $(start_time "$1") $(cat /proc/sys/kernel/random/boot_id)"
}

# Prints the pid if the program runs.
running_pid() { # NAME
  local recorded pid
  recorded=$(cat "$STATE/run/$1.pid" 2>/dev/null) || return 1
  pid=${recorded%% *}
  [ -n "$pid" ] && [ -d "/proc/$pid" ] && [ "$recorded" = "$(process_identity "$pid")" ] || return 1
  # A zombie is dead to us.
  ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null || return 1
  echo "$pid"
}

# The process writes its own pid before it becomes the program, so that a kill
# of the harness at any point leaves no program without a record.
spawn() { # NAME COMMAND...
  local name=$1
  shift
  mkdir -p "$STATE/run" "$STATE/log"
  # shellcheck disable=SC2016 # expands in the new process
  setsid bash -c '. "$1"; process_identity $$ >"$2"; shift 2; exec "$@"' spawn \
    "$HERE/processes.sh" "$STATE/run/$name.pid" "$@" </dev/null >>"$STATE/log/$name.log" 2>&1 8>&- 9>&- &
  # The record must exist when spawn returns, or a check right after would miss it.
  until [ -s "$STATE/run/$name.pid" ]; do sleep 0.01; done
}

# TERM, and KILL for what is left after SECONDS.
stop_process() { # NAME SECONDS
  local pid deadline=$((SECONDS + $2))
  pid=$(running_pid "$1") || { rm -f "$STATE/run/$1.pid"; return 0; }
  kill -TERM "$pid" 2>/dev/null || true
  while running_pid "$1" >/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      kill -KILL "$pid" 2>/dev/null || true
    fi
    sleep 0.05
  done
  rm -f "$STATE/run/$1.pid"
}
