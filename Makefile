# Every target sets up what it needs from nothing; a second call finds it done and is quick.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_READY := $(VENV)/.demo-ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test test-fast test-heavy test-all check bench dist image format lock clean

demo: $(DEMO_READY)
	$(BIN)/vetrina --shop-dir demo-shop demo

# Tests of one file run in one process, so that what a file trains is trained once.
PYTEST := $(BIN)/pytest -n 2 --dist loadfile
SUITES := security simulation feeds deploy browser kills availability images ansible ray

test: $(READY)
	$(PYTEST) -m "not heavy"

test-fast: $(READY)
	$(PYTEST) -m "not heavy" tests/unit tests/contract

test-heavy: $(READY)
	@case " $(SUITES) " in *" $(SUITE) "*) ;; *) echo "SUITE=$(SUITE): is no suite; use one of $(SUITES)"; exit 2;; esac
	$(PYTEST) -m "$(SUITE)"

test-all: $(READY)
	$(PYTEST)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error
	$(BIN)/lint-imports
	$(BIN)/deptry src
	$(BIN)/mkdocs build --strict --quiet --site-dir build/site

bench: $(READY)
	$(BIN)/python -m benchmarks

# A wheel for `pip install` on machines without a clone; pip fetches the build backend.
dist: $(READY)
	rm -rf dist
	$(PIP) wheel --no-deps --wheel-dir dist .
	ls dist

# Docker or Podman makes the images vetrina-serve and vetrina-train; IMAGE_OPTIONS are further words for its `build`.
CONTAINER ?= $(or $(shell command -v docker),$(shell command -v podman))
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image:
	@test -n "$(CONTAINER)" || { echo "make image: needs docker or podman; install one, or name it with CONTAINER=PATH"; exit 2; }
	for target in serve train; do \
	  BUILDAH_FORMAT=docker $(CONTAINER) build --file deploy/images/Containerfile --target $$target \
	    --tag vetrina-$$target --tag vetrina-$$target:$(VERSION) --label org.opencontainers.image.version=$(VERSION) \
	    $(IMAGE_OPTIONS) . || exit 2; \
	done

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# On Linux give pip an index that holds the CPU build of torch; PyPI's own brings gigabytes of CUDA (see README).
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade "pip>=25.1"
	$(PIP) install -c constraints.txt torch==2.13.0
	$(PIP) install -c constraints.txt -e ".[all,ray]" --group dev
	touch $@ $(DEMO_READY)

# What the demo needs, without tools of development. Python compiles the modules that are imported when it imports them.
$(DEMO_READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --no-compile -c constraints.txt torch==2.13.0
	$(PIP) install --no-compile -c constraints.txt -e ".[serve,train,demo]"
	touch $@

# Writes the versions of a tested environment; run it after a deliberate upgrade.
lock: $(READY)
	$(PIP) freeze --all --exclude-editable | sed -e '/^pip==/d' -e 's/^torch==\(.*\)+cpu$$/torch==\1/' > constraints.txt

clean:
	rm -rf $(VENV) build dist site
