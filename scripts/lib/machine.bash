# shellcheck shell=bash
# What a build needs of the machine itself: room, memory, and directories in which programs may run. Sourced.

# The nearest directory of a path that exists.
existing() { # path
    local path=$1
    until [[ -d $path ]]; do path=$(dirname -- "$path"); done
    printf '%s\n' "$path"
}

free_mib() { # path
    df --output=avail --block-size=1M -- "$(existing "$1")" | tail -n 1 | tr -d ' '
}

on_one_disk() { # path, path
    [[ $(stat --format=%d -- "$(existing "$1")") == "$(stat --format=%d -- "$(existing "$2")")" ]]
}

used_mib() { # path...
    { du --summarize --total --block-size=1M -- "$@" 2>/dev/null || true; } | tail -n 1 | cut -f 1 | grep . || printf '0\n'
}

# What can still be had of memory and swap, within the limit of the control group if there is one.
free_memory_mib() {
    local free limit used
    free=$(awk '/^(MemAvailable|SwapFree):/ { kib += $2 } END { print int(kib / 1024) }' /proc/meminfo)
    if limit=$(cat /sys/fs/cgroup/memory.max 2>/dev/null) && [[ $limit =~ ^[0-9]+$ ]]; then
        used=$(awk '/^(anon|kernel) / { bytes += $2 } END { print bytes + 0 }' /sys/fs/cgroup/memory.stat)
        limit=$(((limit - used) / 1024 / 1024))
        ((limit >= free)) || free=$limit
    fi
    printf '%s\n' "$free"
}

# Whether programs may be run from a directory, which a mount with noexec forbids.
runs_programs() { # directory
    local directory probe status=0
    directory=$(existing "$1")
    # What can't be written can't be tried; that is another complaint.
    probe=$(mktemp "$directory/.foundry-probe.XXXXXX" 2>/dev/null) || return 0
    printf '#!/bin/sh\n' >"$probe"
    chmod 700 "$probe"
    "$probe" 2>/dev/null || status=1
    rm -f -- "$probe"
    return "$status"
}

# Programs are run from temporary directories: packages' own by the demo, all kinds by the tests. Where that is forbidden,
# TMPDIR is set to a directory beside the rest of what is built.
choose_tmpdir() { # cache
    runs_programs "${TMPDIR:-/tmp}" && return 0
    mkdir -p "$1/tmp"
    printf '%s: programs may not be run from %s (it is mounted noexec); using %s\n' \
        "${0##*/}" "${TMPDIR:-/tmp}" "$1/tmp" >&2
    export TMPDIR=$1/tmp
}
