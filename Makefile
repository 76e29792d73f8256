# Everything a person needs: `make demo` shows it, `make test` checks it. Each target installs what it needs.
SHELL := /bin/bash
export CARGO_TARGET_DIR ?= /var/tmp/kaogong-target
export PATH := $(CURDIR)/.tools/bin:$(PATH)

.PHONY: help setup setup-test web build release demo demo-stop test lint fmt bench openapi screenshots

help:            ## List the targets.
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/: .*## /\t/' | column -t -s $$'\t'

setup:           ## Install what building and running needs.
	@scripts/setup

setup-test: setup ## Install what the tests need on top.
	@scripts/setup test

web: setup       ## Build the console.
	@scripts/build-web

build: web       ## Build ./kaogong.
	@scripts/build

release: web     ## Build a smaller, faster ./kaogong for distribution; takes long.
	@scripts/build --release

demo: build      ## The whole loop on real data; ends with an address to open.
	@scripts/demo

demo-stop:       ## Stop what `make demo` left running.
	@scripts/demo stop

test: setup-test web ## Format, lints, tidy, unit, store, API, protocols, console, end to end.
	@scripts/test

lint: setup web  ## Format and lints only.
	@scripts/test fmt clippy

fmt:             ## Format the sources.
	@cargo fmt --all

bench: build     ## Speed and size beside a peer or the raw limit.
	@scripts/bench

openapi: web     ## Write openapi.json anew.
	@KAOGONG_UPDATE=1 cargo nextest run --workspace -E "test(the_committed_description_is_current)"

screenshots: build ## Pictures of every page into docs/images.
	@scripts/screenshots
