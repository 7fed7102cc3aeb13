# otel-ingest: `make up` and `make test` are the two commands; each installs what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) …" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@$(BIN)/python -m pip uninstall --quiet --yes setuptools >/dev/null 2>&1 || true # 10 MB that venv brings and nothing here uses
	@touch $@

$(VENV)/.native: $(wildcard otel_ingest/native/*.[ch]) otel_ingest/native/build.py | $(VENV)/.run
	@$(BIN)/python otel_ingest/native/build.py
	@touch $@

$(VENV)/.dev: $(VENV)/.run $(VENV)/.native instrumentation/pyproject.toml instrumentation/tests/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -e ./instrumentation \
	  -r instrumentation/tests/requirements.txt
	@touch $@

install: $(VENV)/.run $(VENV)/.native ## the virtual environment with otel-ingest and its demo

up: $(VENV)/.run $(VENV)/.native ## start everything: PostgreSQL, receivers, query side (ARGS="--json" and so on)
	@exec $(BIN)/otel-ingest up $(ARGS)

demo: $(VENV)/.run $(VENV)/.native ## three small services; prints one whole trace (against a running `make up`)
	@$(BIN)/otel-ingest demo $(ARGS)

# Half of the time tests wait for real processes: two files of them side by side take half as long on two cores.
PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(VENV)/.dev ## all tests, two files at a time (ARGS="-n 0 -k name" for a few, one after the other)
	@$(PYTEST) $(ARGS)

test-fast: $(VENV)/.dev ## all tests but the slow ones
	@$(PYTEST) -m 'not slow' $(ARGS)

test-node: ## types and tests of instrumentation/node alone (part of make test where node and npm are)
	@cd instrumentation/node && npm install --no-audit --no-fund --no-package-lock --ignore-scripts --silent && npm test

check: $(VENV)/.dev ## format, lint, types, layers, sizes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_tidy.py
	$(BIN)/python -m benchmarks.regress

format: $(VENV)/.dev ## rewrite the files as `make check` wants them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

conformance: $(VENV)/.dev ## the 45 OTLP checks on both transports, as a table
	@$(BIN)/python -m tests.contract.conformance_table $(ARGS)

mcp-conformance: $(VENV)/.dev ## the MCP project's own suite on /mcp, both revisions, as a table (installs it from npm, Node too)
	@$(BIN)/python -m tests.contract.mcp_suite $(ARGS)

bench: $(VENV)/.dev ## committed records a second against raw COPY, small requests, receiving alone (ARGS="--only committed")
	@$(BIN)/python -m benchmarks.bench $(ARGS)

bench-profile: $(VENV)/.dev ## what writing sessions wait for at that load, and a flame graph of the server (ARGS="--transport grpc")
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'py-spy>=0.4'
	@$(BIN)/python -m benchmarks.profile $(ARGS)

bench-flat: $(VENV)/.dev ## whether a record costs the same with 50 million stored as with one (ARGS="--millions 5")
	@$(BIN)/python -m benchmarks.flat $(ARGS)

bench-wal: $(VENV)/.dev ## acknowledging after COMMIT against a write-ahead log always: p50, p99, throughput
	@$(BIN)/python -m benchmarks.wal $(ARGS)

bench-read: $(VENV)/.dev ## the read functions over 14 days beside SQL by hand (ARGS="--rows 1000000 --spans 200000 --data-dir DIR")
	@$(BIN)/python -m benchmarks.read $(ARGS)

bench-index: $(VENV)/.dev ## each kind of index on a day of that store: write rate, WAL, size, build, read (ARGS="--days 14")
	@$(BIN)/python -m benchmarks.index $(ARGS)

bench-tools: $(VENV)/.dev ## each read tool through MCP over HTTP, over the store of bench-read: p50 and p99
	@$(BIN)/python -m benchmarks.tools $(ARGS)

roundtrip: $(VENV)/.dev ## N (10,000) generated requests of each signal over HTTP (protobuf, JSON) and gRPC, stored and exported, compared
	@ROUNDTRIP_EXAMPLES=$(or $(N),10000) $(BIN)/python -m pytest -q -s tests/integration/test_export_roundtrip.py

bench-decode: $(VENV)/.dev ## CPU of a record from the body's bytes to its COPY row, without PostgreSQL
	@$(BIN)/python -m benchmarks.decode $(ARGS)

bench-pack bench-cold: $(VENV)/.dev ## bytes a record as rows, packed and cold, and the same questions over all three
	@$(BIN)/python -m benchmarks.pack $(ARGS)

.PHONY: bench-tools bench-pack bench-cold

fuzz: $(VENV)/.dev ## a million damaged requests through wire and decode (ARGS="--inputs N", "--atheris SECONDS")
	@case "$(ARGS)" in *--atheris*) $(BIN)/python -m pip install --quiet --disable-pip-version-check 'atheris>=3';; esac
	@$(BIN)/python -m tests.fuzz $(ARGS)

volume: $(VENV)/.dev ## a million log records by the stock SDK exporters, counted
	@$(BIN)/python -m benchmarks.volume $(ARGS)

once: $(VENV)/.dev ## the same request to two receivers at the same moment, 10,000 times: stored once
	@$(BIN)/python -m benchmarks.once $(ARGS)

digests: $(VENV)/.dev ## what storing each request once costs
	@$(BIN)/python -m benchmarks.digests $(ARGS)

screenshots: $(VENV)/.dev ## the pictures of docs/page.md, taken anew
	@$(BIN)/python -m docs.screenshots

bench-page: $(VENV)/.dev ## the page over 10 million records and a trace of 100,000 spans: bytes, ms to the first paint
	@$(BIN)/python -m benchmarks.page $(ARGS)

clients-bench: $(VENV)/.dev ## the Python distribution beside the stock one: cost of a call, what an outage loses (ARGS="--only outage")
	@$(BIN)/python -m benchmarks.clients $(ARGS)

idle-agents: $(VENV)/.dev ## what 1,000 idle processes waiting for levels cost, beside polling (ARGS="--agents 1000 --seconds 60")
	@$(BIN)/python -m benchmarks.idle_agents $(ARGS)

chaos: $(VENV)/.dev ## five minutes of seeded faults under the stock SDK, each record counted (ARGS="--seed 7 --seconds 60")
	@$(BIN)/python -m tests.chaos $(ARGS)

killpoints: $(VENV)/.dev ## 500 kills at exact points of COPY, COMMIT and the answer (ARGS="--points 500 --seed 1")
	@$(BIN)/python -m tests.chaos.killpoints $(ARGS)

bench-doors: $(VENV)/.dev ## Jaeger's and Loki's API over a store of its own: medians (ARGS="--traces 30000")
	@$(BIN)/python -m benchmarks.doors $(ARGS)

bench-counting: $(VENV)/.dev ## what counts and roll-ups cost a writer: batches of 512 with and without (ARGS="--blocks 12")
	@$(BIN)/python -m benchmarks.counting $(ARGS)

retention-bench: $(VENV)/.dev ## a day of a million records goes while it ingests (ARGS="--layout": deletion against sub-partitions)
	@$(BIN)/python -m benchmarks.retention $(ARGS)

migrate-bench: $(VENV)/.dev ## the schema up and down with a million rows, under writers (ARGS="--from 0006")
	@$(BIN)/python -m benchmarks.migration $(ARGS)

test-zones: $(VENV)/.dev ## storage, partition, retention and reading tests with the database in two zones far from UTC
	@for zone in Asia/Seoul America/St_Johns; do echo "$$zone"; TZ=$$zone TEST_TIMEZONE=$$zone $(BIN)/python -m pytest -q \
	  tests/integration tests/property tests/unit/test_partitions.py tests/unit/test_retention.py $(ARGS) || exit 1; done

.PHONY: bench-tools retention-bench migrate-bench test-zones

scenarios: $(VENV)/.dev ## eight faults planted in a shop of eight services: calls and tokens until each is found
	@$(BIN)/python -m tests.scenarios

.PHONY: bench-tools scenarios

overload: $(VENV)/.dev ## more than it can commit: memory, refusals by code, and how long others wait
	@$(BIN)/python -m benchmarks.overload $(ARGS)

clean: ## remove the virtual environment and caches (the data directory stays)
	rm -rf $(VENV) instrumentation/node/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

.PHONY: bench-tools bench-counting bench-doors bench-page screenshots bench-index bench-read help install up demo test test-fast test-node check format conformance mcp-conformance bench bench-wal bench-decode fuzz roundtrip volume once digests clients-bench idle-agents chaos killpoints overload clean
