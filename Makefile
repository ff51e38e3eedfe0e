# make demo   sets everything up and plays the whole migration      ARGS="--chaos --seed 7"
# make test   sets everything up and runs the tests
PY := .venv/bin/python
MEMBERS := libs/common libs/faust-kinesis libs/localaws migrations/engagement services/engagement-api services/replicator services/verifier services/controller demo
READY := .venv/.ready
ARGS ?=

.PHONY: setup demo test lint proto lock bench clean help

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## the virtual environment, from the hashed lock

$(READY): requirements.lock $(addsuffix /pyproject.toml,$(MEMBERS))
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Crossfade needs Python 3.11 or newer; python3 is $$(python3 --version)"; exit 1; }
	@test -x $(PY) || python3 -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9
	.venv/bin/uv pip install --quiet --python $(PY) --require-hashes -r requirements.lock
	.venv/bin/uv pip install --quiet --python $(PY) --no-deps --no-build-isolation $(addprefix -e ,$(MEMBERS))
	@touch $@
