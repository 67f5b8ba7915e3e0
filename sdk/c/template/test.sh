#!/bin/sh
# Runs the built component in a world of its own: build it first.
set -eu

host=${FOUNDRY_HOST:-foundry-host}
component=build/{{name}}.wasm

check() { # what is expected, in the output of the rest
    expected=$1
    shift
    output=$("$@" 2>&1) || true
    case $output in
        *"$expected"*) echo "ok: $expected" ;;
        *)
            printf 'expected: %s\ngot: %s\n' "$expected" "$output"
            exit 1
            ;;
    esac
}

check '"text":"hello, main"' "$host" test --event commit.json "$component"
check '"text":"good evening, main"' "$host" test --event commit.json "$component" --greeting 'good evening'
check 'state      main = 1' "$host" test --event commit.json "$component"

other=$(mktemp)
trap 'rm -f "$other"' EXIT
echo '{"type": "example.other.v1", "data": {}}' >"$other"
check 'outcome    reject: a message of type example.other.v1' "$host" test --event "$other" "$component"
