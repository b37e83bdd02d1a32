# Verbs of nyxcore. `make run` and `make test` need Python 3.11 or newer with venv, and nothing else.
# Tools are started as modules: scripts of a virtual environment break in a path with spaces.

PYTHON ?= python3
PY := .venv/bin/python
LOCK := --quiet --generate-hashes --no-header --no-emit-index-url --universal --python-version 3.11
ARGS ?=

.PHONY: run test faults check fmt bench pictures lock

run:
	@sh .ci/venv run "$(PYTHON)"
	@exec $(PY) manage.py up $(ARGS)

# In two processes, each with servers of its own; `ARGS="-n0 --pdb"` for one.
test:
	@sh .ci/venv dev "$(PYTHON)"
	@exec $(PY) -m pytest -n 2 --dist loadgroup $(ARGS)

# The fault laboratory: every cell once, or `make faults N=100 SEED=7` for random ones. Disk full needs root.
faults:
	@sh .ci/venv dev "$(PYTHON)"
	@exec $(PY) -m tests.faults $(if $(N),-n $(N)) $(if $(SEED),--seed $(SEED)) $(ARGS)

check:
	@sh .ci/venv dev "$(PYTHON)"
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	git ls-files -z '*.html' | xargs -0 -r .venv/bin/djade --check --target-version 5.2
	$(PY) -m mypy
	$(PY) -c 'import sys; from importlinter.cli import lint_imports_command as main; sys.exit(main())'
	@folder=$$(mktemp -d) && $(PY) manage.py makemigrations --check --dry-run --data-dir "$$folder"; \
		code=$$?; rm -rf "$$folder"; exit $$code

fmt:
	@sh .ci/venv dev "$(PYTHON)"
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

bench:
	@sh .ci/venv dev "$(PYTHON)"
	@exec $(PY) -m bench $(ARGS)

# The pictures of the README, from a nyxcore of its own with example runs. Needs Chromium.
pictures:
	@sh .ci/venv dev "$(PYTHON)"
	@exec $(PY) -m docs.pictures

# New versions: `make lock ARGS=--upgrade`. The addresses of package indexes stay out of the files.
lock:
	@sh .ci/venv dev "$(PYTHON)"
	@$(PY) -m uv --version >/dev/null 2>&1 || $(PY) -m pip install --quiet --disable-pip-version-check uv
	$(PY) -m uv pip compile $(LOCK) $(ARGS) pyproject.toml -o requirements.lock
	$(PY) -m uv pip compile $(LOCK) $(ARGS) pyproject.toml --extra test --extra check \
		-c requirements.lock -o requirements-dev.lock
	$(PY) -c 'import tomllib; from pathlib import Path; \
		extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]; \
		print(*extras["embedded"], sep="\n")' | \
		$(PY) -m uv pip compile $(LOCK) $(ARGS) - -c requirements.lock -o requirements-embedded.lock
