# shellcheck shell=bash
# What Debian's package lists know, and when they have to be fetched anew. Sourced; the caller has `say`.

has() { command -v "$1" >/dev/null; }

is_root() { [[ $(id -u) == 0 ]]; }

# The version that apt would install, or nothing.
candidate() { # package
    apt-cache policy "$1" 2>/dev/null | sed -nE 's/^ *Candidate: //p' | grep -vx '(none)' || true
}

at_least() { # version, needed version
    [[ $(printf '%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# The oldest Rust that Foundry is built with; the caller sets root.
needed_rust() {
    # shellcheck disable=SC2154
    sed -nE 's/^rust-version = "(.*)"/\1/p' "$root/Cargo.toml"
}

# Debian's newest compiler: the version of rustc-web, if apt knows one that is new enough. Where it does not, the lists
# are fetched first.
debian_rust() {
    local version
    version=$(candidate rustc-web)
    if [[ -z $version ]] || ! at_least "$version" "$(needed_rust)"; then
        refresh_lists "$(lists_lack_rust "$version")" || return 1
        version=$(candidate rustc-web)
        [[ -n $version ]] && at_least "$version" "$(needed_rust)" || return 1
    fi
    printf '%s\n' "$version"
}

lists_lack_rust() { # version or nothing
    if [[ -n $1 ]]; then printf 'they know rustc-web %s only' "$1"; else printf 'they know no rustc-web'; fi
}

# Archives that the sources name and whose lists are not there: a Debian that was installed without the network has no
# lists at all, one made of a single archive lacks security updates.
archives_without_list() {
    local lists uri file
    lists=$(lists_directory)
    while read -r uri file _; do
        [[ $file == *InRelease ]] || continue
        uri=${uri#\'} uri=${uri%\'}
        if [[ ! -e $lists/$file && ! -e $lists/${file%InRelease}Release ]]; then
            printf '%s\n' "${uri%/InRelease}"
        fi
    done < <(apt-get --print-uris update 2>/dev/null)
}

# The directory of the package lists.
lists_directory() { apt-config shell lists Dir::State::lists/d | sed -nE "s/^lists='(.*)'$/\1/p"; }

# When lists were fetched last, in seconds since 1970; 0 if there are none. The lists have the times that the mirror gives
# them; the directory that they are downloaded to changes at each update.
lists_fetched() {
    local lists
    lists=$(lists_directory)
    find "$lists" -maxdepth 1 -name '*Release' -printf x -quit 2>/dev/null | grep -q x || {
        printf '0\n'
        return
    }
    find "$lists" -maxdepth 1 \( -name '*Release' -o -name partial \) -printf '%Ts\n' | sort -n | tail -n 1
}

# Why the lists can't be relied on, or nothing. A list of ten days may name versions that the mirror no longer has.
lists_are_outdated() {
    local lacking fetched
    mapfile -t lacking < <(archives_without_list)
    fetched=$(lists_fetched)
    if ((fetched == 0)); then
        printf 'there are none\n'
    elif ((${#lacking[@]})); then
        printf 'there is none of %s\n' "${lacking[*]}"
    elif (($(date +%s) - fetched > 10 * 24 * 3600)); then
        printf 'they are of %s\n' "$(date --date "@$fetched" +%F)"
    fi
}

# Fetch the package lists, at most once for all scripts of a run, which FOUNDRY_LISTS_REFRESHED tells. Fails if it can't,
# for want of rights or of a network.
refresh_lists() { # why
    is_root && has apt-get || return 1
    [[ -z ${FOUNDRY_LISTS_REFRESHED-} ]] || return 0
    export FOUNDRY_LISTS_REFRESHED=yes
    say "fetching Debian's package lists: $1"
    # Lists that only root can read are of no use to others. A third party's archive that is down is not our affair:
    # what counts is what the lists know afterwards.
    (umask 022 && apt-get update --quiet=2 -o Acquire::Retries=1 -o Acquire::http::Timeout=20 >&2) ||
        say 'apt-get update failed; going on with the lists that are here'
}
