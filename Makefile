# make demo            the main job on an embedded Postgres; KEEP=1 leaves the server up
# make test            the whole suite in two processes, each on an embedded Postgres of its own
# make test DSN=...    the whole suite on a given server (a superuser's DSN)
# make test PG=15      the whole suite on a throw-away cluster of Debian's Postgres 15
# make chaos           kills, cuts, hanging servers and limits on the wire, in five minutes at most
# make bench           how fast it is here; ARGS="--mode sql", ...: docs/performance.md
# make bench-peers     the pipeline beside other queues; benchmarks/README.md
# make bench-check     what a message costs, counted, against benchmarks/cost.json; RECORD=1 writes that
# make docs            what the documentation takes from the database, taken again

PYTHON ?= python3
PG_CONFIG ?= pg_config
BIN := .venv/bin
STAMP := .venv/.installed
SQL := $(wildcard sql/*.sql sql/*/*.sql plpgsql/*/*.sql)

.PHONY: build check lint test chaos bench bench-peers bench-check demo docs extension install-extension clean

$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

build: $(STAMP)
	$(PYTHON) scripts/build.py

check:
	$(PYTHON) scripts/build.py --check

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m scripts.spot
	$(BIN)/python -m scripts.squawk
	$(BIN)/sqlfluff lint --processes 2 --disable-progress-bar sql plpgsql

test: $(STAMP)
ifdef PG
	scripts/with-cluster $(PG) $(BIN)/pytest $(ARGS)
else
	DRIPDROP_TEST_DSN='$(DSN)' $(BIN)/pytest $(if $(DSN),,-n 2 --dist loadfile) $(ARGS)
endif

chaos: $(STAMP)
	timeout 300 $(BIN)/pytest -m chaos tests/chaos $(ARGS)

bench: $(STAMP)
	$(BIN)/dripdrop bench pipeline $(ARGS)

bench-peers: $(STAMP)
	@npm ci --prefix benchmarks --no-audit --no-fund --silent
	@test -x benchmarks/.venv/bin/python || $(PYTHON) -m venv benchmarks/.venv
	@benchmarks/.venv/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.compare $(ARGS)

bench-check: $(STAMP)
	$(BIN)/python -m scripts.bench_check $(if $(RECORD),--record)

demo: $(STAMP)
	$(BIN)/dripdrop demo $(if $(KEEP),--keep) $(ARGS)

docs: $(STAMP)
	$(BIN)/python -m scripts.document

extension:
	$(PYTHON) scripts/build.py --extension

install-extension: extension
	install -d '$(shell $(PG_CONFIG) --sharedir)/extension'
	install -m 644 dripdrop.control dist/extension/*.sql '$(shell $(PG_CONFIG) --sharedir)/extension'

clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
