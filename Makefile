# Everything a developer runs. Needs GNU make, sh and a Python 3.11 or newer; no compiler, no server.

PYTHON ?= # another Python to build .venv with: make run PYTHON=/path/to/python3.12
PYTEST_ARGS ?= # make test PYTEST_ARGS="-k login -x"

VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/ready
UV := uv==0.13.9

.PHONY: help run test check pictures lock clean FORCE
.DELETE_ON_ERROR:

help:
	@echo "make run     the whole service on this machine, with PostgreSQL and Valkey of its own (PORT=8000)"
	@echo "make test    the tests; PYTEST_ARGS= goes to pytest"
	@echo "make check   lint, format, types, migrations, Django's deployment checks"
	@echo "make pictures  take the pictures of docs/ops.md anew"
	@echo "make lock    pin the newest packages that the requirements*.in files allow"
	@echo "make clean   remove what these made, but for the data in .local/"

run: $(READY)
	@exec $(RUN) manage.py up --stop-with-parent

test: $(READY)
	@$(RUN) -m pytest $(PYTEST_ARGS)

pictures: $(READY)
	@ZEGO_PICTURES=docs/pictures $(RUN) -m pytest -q tests/browser/take_pictures.py

# As in production, and explicit: what .local/env says while `make run` runs must not count here.
# Nothing listens on port 1, so no database is asked.
CHECK_ENV = env SECRET_KEY="$$($(RUN) -c 'import secrets; print(secrets.token_urlsafe(48))')" \
	DATABASE_URL=postgres://check@127.0.0.1:1/check REDIS_URL=redis://127.0.0.1:1/0 \
	ALLOWED_HOSTS=zego.example CSRF_TRUSTED_ORIGINS=https://zego.example \
	EMAIL_URL=smtp://127.0.0.1:1 SUPPORT_EMAIL=help@zego.example INSECURE_HTTP=false LOG_FORMAT=json

check: $(READY)
	@echo "ruff check" && $(RUN) -m ruff check --quiet .
	@echo "ruff format" && $(RUN) -m ruff format --quiet --check .
	@echo "mypy --strict" && $(RUN) -m mypy --strict --no-error-summary zego_api shifts linking tests
	@echo "migrations" && $(CHECK_ENV) $(RUN) -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run
	@echo "deployment" && $(CHECK_ENV) $(RUN) manage.py check --deploy --fail-level WARNING

# The stamp is made last, so an interrupted installation does not count; nor does an environment
# whose Python has gone since.
ifneq ($(shell $(RUN) -c "print('works')" 2>/dev/null),works)
$(READY): FORCE
endif
$(READY): requirements-dev.txt
	@set -e; python=; \
	for name in "$(strip $(PYTHON))" python3 python3.14 python3.13 python3.12 python3.11 python; do \
		[ -n "$$name" ] || continue; \
		if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
		then python=$$name; break; fi; \
		if [ "$$name" = "$(strip $(PYTHON))" ]; \
		then echo "$$name is not a Python 3.11 or newer." >&2; exit 1; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11 or newer found. Install one, or name it: make run PYTHON=/path/to/python3" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version) ..."; \
	rm -rf $(VENV); \
	if ! "$$python" -m venv $(VENV); then \
		rm -rf $(VENV); \
		echo "$$python cannot make virtual environments (Debian: apt-get install python3-venv)." >&2; \
		exit 1; \
	fi; \
	echo "Installing requirements-dev.txt into it; the first time this takes a minute or so ..."; \
	if ! $(RUN) -m pip install --quiet --disable-pip-version-check --no-input \
		--only-binary :all: --require-hashes -r requirements-dev.txt; then \
		echo "pip could not install requirements-dev.txt; what it said is above." >&2; \
		exit 1; \
	fi; \
	touch $(READY)

# One lock for every supported Python and platform; the file with `newest` is for the test run on
# the newest Django, which needs a newer Python than the service does.
COMPILE = .venv-lock/bin/uv pip compile --quiet --upgrade --universal --generate-hashes \
	--no-header --no-emit-index-url --no-config

lock: $(READY)
	@echo "Installing $(UV) ..."
	@rm -rf .venv-lock && $(RUN) -m venv .venv-lock
	@.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	@echo "Locking ..."
	@$(COMPILE) --python-version 3.11 requirements.in -o requirements.txt
	@$(COMPILE) --python-version 3.11 requirements-dev.in -c requirements.txt -o requirements-dev.txt
	@$(COMPILE) --python-version 3.12 requirements-dev.in --override requirements-newest.in -o requirements-newest.txt
	@rm -rf .venv-lock

clean:
	rm -rf $(VENV) .venv-* staticfiles .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

FORCE:
