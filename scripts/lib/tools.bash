# shellcheck shell=bash
# Tools that are installed from registries into tools/ in $FOUNDRY_CACHE (default: foundry in $XDG_CACHE_HOME or ~/.cache),
# once, and never into the system.

cache=${FOUNDRY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/foundry}/tools

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

need() { # command, package
    command -v "$1" >/dev/null || {
        say "there is no $1, which installs the rest (apt-get install $2)"
        exit 1
    }
}

# Install into a directory, unless that was done to its end before.
once() { # directory, function, argument...
    local directory=$1 install=$2
    shift 2
    [[ ! -e $directory/.complete ]] || return 0
    mkdir -p "$cache"
    exec {lock}>"$cache/.lock"
    flock "$lock"
    if [[ ! -e $directory/.complete ]]; then
        say "installing $* (once)"
        rm -rf "$directory"
        mkdir "$directory"
        "$install" "$directory" "$@" >&2
        touch "$directory/.complete"
    fi
    exec {lock}>&-
}

from_pypi() { # directory, requirement...
    local directory=$1
    shift
    need python3 python3
    python3 -m venv "$directory" || {
        say 'cannot make a virtual environment (apt-get install python3-venv)'
        exit 1
    }
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
}
