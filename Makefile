# make demo   sets everything up and plays the whole migration      ARGS="--chaos --seed 7"
# make test   sets everything up and runs the tests
PY := .venv/bin/python
MEMBERS := libs/common libs/faust-kinesis libs/localaws migrations/engagement services/engagement-api services/replicator services/verifier services/controller demo
READY := .venv/.ready
ARGS ?=
RUNS ?= 1
SEEDS ?= 1000
FIRST ?= 0
# Most tests wait for processes that they started, so a few more workers than half the cores do no harm. Files keep their
# order: by default those with few tests come last, and these are the ones that wait.
WORKERS ?= 3
BESIDE := $(wildcard $(addsuffix /tests,$(MEMBERS)))

.PHONY: flip-runs bench-verify bench-offline verify-long setup demo demo-table demo-busy simulate planted-faults check test test-deploy lint reference release-check loc proto lock bench clean help dashboards test-alerts test-alerts-killed test-dashboards images test-images lambda

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: $(READY) ## the virtual environment, from the hashed lock

$(READY): requirements.lock $(addsuffix /pyproject.toml,$(MEMBERS))
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Crossfade needs Python 3.11 or newer; python3 is $$(python3 --version)"; exit 1; }
	@echo "Setting up .venv from requirements.lock; once, half a minute to two." >&2
	@test -x $(PY) || python3 -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9
	@.venv/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock
	@.venv/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation $(addprefix -e ,$(MEMBERS))
	@touch $@

demo: $(READY) ## the whole migration, once, under live traffic (ARGS="--chaos --json")
	@$(PY) -m crossfade_demo $(ARGS)

demo-table: $(READY) ## a table whose application nobody changes: there, back, there again, cleaned (ARGS="--seed 7")
	@$(PY) -m crossfade_demo.table $(ARGS)

demo-busy: $(READY) ## the demo beside heavy work, at twice the cores (RUNS=10 ARGS="--chaos")
	@$(PY) -m tools.busy --runs $(RUNS) $(ARGS)

lint: $(READY) ## ruff, strict types, import rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy libs services migrations demo examples/stock examples/orders tests tools benchmarks conftest.py
	for each in deploy integration; do .venv/bin/mypy tests/$$each/conftest.py || exit 1; done
	PYTHONPATH=examples .venv/bin/lint-imports

# Compiled tests are kept, out of the tree, even where the environment says not to: compiling them is half a quick run.
check: export PYTHONDONTWRITEBYTECODE :=
check: export PYTHONPYCACHEPREFIX := $(CURDIR)/.venv/pycache
check: $(READY) ## unit, property, contract on memory, simulation; what exhausts for longer is left to make test
	@$(PY) -m pytest -q -n auto --dist worksteal -m "not deep and not slow and not embedded" --hypothesis-profile=check $(BESIDE) tests/house tests/property tests/contract tests/simulation $(ARGS)

test: $(READY) lint ## all checks and tests (ARGS is passed to pytest)
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow and not e2e" $(ARGS)
	$(PY) -m pytest -m e2e tests/e2e

test-deploy: $(READY) ## the charts, modules, images and dashboards, by the real tools
	$(PY) -m pytest -n $(WORKERS) --dist worksteal tests/deploy $(ARGS)

test-slow: $(READY) ## the larger scopes that make test leaves out
	$(PY) -m pytest -m slow $(ARGS)

verify-long: $(READY) ## real verifiers under live traffic: killed five times in a pass; 50 passes with records twice, shuffled and late
	$(PY) -m pytest -q -s -m slow tests/integration/test_verifier_killed.py tests/integration/test_verifier_long.py $(ARGS)

test-dynamodb-local: $(READY) ## the contracts of the embedded DynamoDB on AWS's own engine (needs Java 17 and Maven)
	@tools/dynamodb_local.sh $(PY) -m pytest -q -n 0 -k "not without" tests/contract/test_localaws_items_contract.py $(ARGS)

planted-faults: $(READY) ## plants each fault in the simulation, and writes which of SEEDS seeds finds it first
	@PYTHONHASHSEED=0 PYTHONPATH=tests:tests/support $(PY) -m simulation --table --seeds $(SEEDS) --workers $(WORKERS)

simulate: $(READY) ## whole migrations in virtual time, a seed each; tells a failing one as a small story (SEEDS=1000 FIRST=0)
	@PYTHONHASHSEED=0 PYTHONPATH=tests:tests/support $(PY) -m simulation --seeds $(SEEDS) --first $(FIRST) $(ARGS)

flip-runs: $(READY) ## plain migrations there, back and there again in virtual time: which fault hit which step of a flip (SEEDS=50)
	@PYTHONHASHSEED=0 PYTHONPATH=tests:tests/support $(PY) -m simulation.flips $(if $(filter command line,$(origin SEEDS)),--seeds $(SEEDS)) $(ARGS)

bench: $(READY) ## CPU time a record of the apply path by stage, with the usual handlers in the same run
	$(PY) benchmarks/bench_apply.py $(ARGS)

bench-api: $(READY) ## CPU time an operation of the Engagement API
	$(PY) benchmarks/api_bench.py $(ARGS)

bench-verify: $(READY) ## CPU time a pair of the verifier's sweep, with what it did before in the same run
	$(PY) benchmarks/bench_verify.py $(ARGS)

bench-offline: $(READY) ## CPU time a pair of comparing two exports, with DuckDB's sums in the same run
	$(PY) benchmarks/bench_offline.py $(ARGS)

bench-telemetry: $(READY) ## the apply path with telemetry off, at 1 % and at 100 %
	$(PY) benchmarks/bench_telemetry.py $(ARGS)

reference: $(READY) ## docs/reference, regenerated from the code: settings, errors, journal, documents, telemetry
	@$(PY) -m tools.reference

test-otel: $(READY) ## traces in a real Jaeger, through a real OpenTelemetry Collector (needs Go)
	@tools/otel_tools.sh > /dev/null
	@$(PY) -m tools.otel_backends $(ARGS)

images: $(READY) ## an image of each service and of the Lambda function, with buildah or docker (BASE=debian without a registry)
	@tools/images.sh build $(IMAGES)

test-images: $(READY) ## images built and run here (needs Debian's buildah and debootstrap, or docker; IMAGES=all for all)
	@tools/images.sh engine > /dev/null
	$(PY) -m pytest tests/images $(ARGS)

lambda: $(READY) ## the replicator as a Lambda function: build/lambda/replicator-x86_64.zip (ARGS="--arch arm64")
	@$(PY) -m tools.lambda_zip $(ARGS)

release-check: $(READY) ## sdists and wheels of all packages: built, installed in empty environments, imported
	@$(PY) -m tools.release check

loc: $(READY) ## lines by area, blank ones and comments aside (ARGS="COMMIT main" for a column each)
	@$(PY) -m tools.loc $(ARGS)

lock: ## rewrite requirements.lock, after a dependency changed
	bash tools/lock.sh

clean: ## remove what was built; the environment too
	rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

proto: $(READY) ## generated code from proto/
	tools/proto.sh

dashboards: $(READY) ## Grafana's JSON, from the panels in deploy/dashboards/*.yaml
	@$(PY) -m tools.dashboards

test-alerts: $(READY) ## promtool: every alert fires, and stays silent (needs Debian's prometheus)
	@$(PY) -m pytest -q -rs tests/deploy/test_alerts_promtool.py

test-alerts-killed: $(READY) ## real services killed in pairs under a real Prometheus: something fires, nothing stops (needs it, too)
	@$(PY) -m pytest -q -rs tests/deploy/test_alerts_killed.py

test-dashboards: test-alerts ## every panel's query against a Prometheus that scrapes the demo (needs it, too)
	@$(PY) -m tools.live
