# Entry points for people; what a target does is in the script that it calls.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Everything that is built lands here, outside the clone; delete it at any time.
export FOUNDRY_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/foundry
export CARGO_TARGET_DIR ?= $(FOUNDRY_CACHE)/target

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR = $(DESTDIR)$(PREFIX)/bin
DATADIR = $(DESTDIR)$(PREFIX)/share
BOTS = watchbot buildbot signbot distbot

.PHONY: help setup guests build test chaos soak farm test-real test-languages test-bare lint docs demo fuzz bench bench-repo install

help: ## list these targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## install what is missing: Debian packages (as root), a compiler for bots
	@scripts/setup
	@scripts/guest-toolchain >/dev/null
	@scripts/deny --tool >/dev/null

guests: ## build the bots to WebAssembly components
	@scripts/setup build
	@scripts/build-guests

build: ## build foundry-host, with the stock bots inside
	@scripts/setup build
	@scripts/own-target
	@scripts/progress foundry-host cargo build --release --package foundry-host

test: setup lint ## everything that must hold: lints, unit tests, end-to-end tests
	@scripts/test

chaos: ## kill hosts and brokers while a thousand jobs flow, and count what was lost
	@scripts/setup build test
	@scripts/own-target
	@scripts/progress 'the chaos tests' cargo test --workspace --test chaos --no-run
	@FOUNDRY_CHAOS_JOBS=$${FOUNDRY_CHAOS_JOBS:-1000} FOUNDRY_CHAOS_KILLS=$${FOUNDRY_CHAOS_KILLS:-60} FOUNDRY_CHAOS_CUTS=$${FOUNDRY_CHAOS_CUTS:-12} \
		cargo test --quiet --workspace --test chaos -- --nocapture --include-ignored --test-threads=1 --skip soak::

soak: ## an hour (FOUNDRY_SOAK_MINUTES) among hostile bots, garbage, reloads and kills; prints what hosts hold meanwhile
	@scripts/setup build test
	@scripts/own-target
	@scripts/progress 'the chaos tests' cargo test --workspace --test chaos --no-run
	@FOUNDRY_SOAK_MINUTES=$${FOUNDRY_SOAK_MINUTES:-60} \
		cargo test --quiet --workspace --test chaos -- --nocapture --include-ignored --exact \
		soak::hosts_under_siege_hold_no_more_than_at_its_beginning_and_lose_and_repeat_nothing

farm: ## a farm in network namespaces while lines break, machines stop and stores go away, as root; prints what it measured
	@scripts/setup build test
	@scripts/own-target
	@scripts/progress 'the farm tests' cargo test --workspace --test farm --no-run
	@cargo test --quiet --workspace --test farm -- --nocapture --ignored --test-threads=1 the_whole

test-real: setup ## tests that need the network: real repositories, real archives
	@scripts/own-target
	@tests/real/run
	@scripts/progress 'the tests' cargo test --workspace --test publishing --no-run
	@cargo test --quiet --workspace --test publishing -- --ignored

test-languages: setup ## a newcomer's way from nothing to a loaded bot, in each language; prints the times
	@scripts/own-target
	@tests/languages/run

test-bare: ## the demo on a bare Debian, with a Rust toolchain beside it and with Debian's own; prints the minutes
	@tests/bare/run

lint: ## formatting, clippy, shellcheck, dependencies
	@scripts/setup build
	@scripts/own-target
	@scripts/lint

docs: ## build the documentation as a book, and check its links
	@scripts/docs

demo: ## a commit's way to an APT repository, on this machine
	@scripts/setup build run demo
	@scripts/own-target
	@scripts/demo

fuzz: ## fuzz what clients of the broker and git servers can reach, patterns of grants, and what reads packages, 45 seconds each
	@scripts/setup build fuzz
	@scripts/fuzz

bench: ## measure what the documentation claims
	@scripts/setup build run test
	@scripts/own-target
	@benches/run

bench-repo: ## measure publishing beside reprepro, aptly and apt-ftparchive
	@scripts/setup build run peers
	@scripts/own-target
	@benches/repo

install: build ## install foundry-host under PREFIX (default /usr/local) and DESTDIR
	install -D --mode=755 "$(CARGO_TARGET_DIR)/release/foundry-host" "$(BINDIR)/foundry-host"
	for bot in $(BOTS); do ln -sfn foundry-host "$(BINDIR)/$$bot"; done
	install -d "$(DATADIR)/man/man1" "$(DATADIR)/man/man5" "$(DATADIR)/bash-completion/completions" \
		"$(DATADIR)/zsh/site-functions" "$(DATADIR)/fish/vendor_completions.d"
	"$(BINDIR)/foundry-host" man "$(DATADIR)/man/man1"
	mv "$(DATADIR)/man/man1/foundry.toml.5" "$(DATADIR)/man/man5/"
	for name in foundry-host $(BOTS); do \
		"$(BINDIR)/foundry-host" completions bash $$name >"$(DATADIR)/bash-completion/completions/$$name"; \
		"$(BINDIR)/foundry-host" completions zsh $$name >"$(DATADIR)/zsh/site-functions/_$$name"; \
		"$(BINDIR)/foundry-host" completions fish $$name >"$(DATADIR)/fish/vendor_completions.d/$$name.fish"; \
	done
