# Each target sets itself up: it only needs make, and Python >= 3.11 with venv.
# To use another interpreter: make test PYTHON=/usr/bin/python3.12
# To install torch without CUDA, a quarter of the size:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
LISTS := requirements.txt pyproject.toml

.PHONY: help demo test check docs smoke fuzz hostile kill ray kill-ray soak audit package clean
.DEFAULT_GOAL := help

help:
	@echo "make demo                 find heads in sample pictures (sets itself up on the first run)"
	@echo "make demo SOURCE=folder   find heads in your own pictures"
	@echo "make test                 run all checks and tests"
	@echo "make check                check format, lint, types and layers"
	@echo "make docs                 build the documentation site in build/site"
	@echo "make smoke                train 20 steps on synthetic pictures, detect, evaluate"
	@echo "make fuzz                 try 20 times as many damaged pictures and labels as make test"
	@echo "make hostile              send 10,000 hostile requests to the service"
	@echo "make kill                 kill test, train and convert 200 times, batch 200 times; check what is left"
	@echo "make ray                  run the tests on a Ray cluster on this machine"
	@echo "make kill-ray             kill drivers and actors of a job on Ray 30 times"
	@echo "make soak                 run cameras that come and go for an hour; report delays, losses and leaks"
	@echo "make audit                ask osv.dev for known vulnerabilities of the installed packages"
	@echo "make package              build the wheel, install it into an empty environment, detect"
	@echo "make clean                remove everything that these targets made"

# SOURCE reaches the shell through the environment, so that its path may contain any character.
export SOURCE
demo: $(VENV)/track.done
	@$(VENV)/bin/python -m head_detection demo $${SOURCE:+--source "$$SOURCE"}

# Two processes, each with one thread and 1.5 GB; the tests of a file stay together.
test: check
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile

check: $(VENV)/dev.done
	@$(VENV)/bin/python -m ruff format --check .
	@$(VENV)/bin/python -m ruff check .
	@$(VENV)/bin/python -m mypy
	@$(VENV)/bin/python $(VENV)/bin/lint-imports --no-logo

docs: $(VENV)/dev.done
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict
	@echo "The site: $(CURDIR)/build/site/index.html"

smoke: $(VENV)/core.done
	@$(VENV)/bin/python tests/smoke.py

# FUZZ_ROUNDS=100 make fuzz: 100 times as many as make test.
fuzz: $(VENV)/dev.done
	@FUZZ_ROUNDS=$${FUZZ_ROUNDS:-20} $(VENV)/bin/python -m pytest tests/fuzz

hostile: $(VENV)/dev.done
	@HOSTILE_REQUESTS=$${HOSTILE_REQUESTS:-10000} $(VENV)/bin/python -m pytest -s tests/serving/test_hostile.py

kill: $(VENV)/dev.done
	@$(VENV)/bin/python tests/kill.py
	@$(VENV)/bin/python tests/batch/kills.py

ray: $(VENV)/dev.done
	@RAY_CLUSTER=1 OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest tests/batch/test_ray_data.py

kill-ray: ray
	@$(VENV)/bin/python tests/ray_cluster.py

# SOAK_MINUTES=5 make soak: for 5 minutes only.
soak: $(VENV)/core.done
	@$(VENV)/bin/python tests/soak.py $${SOAK_MINUTES:-60}

audit: $(VENV)/core.done
	@bash tests/audit.sh $(VENV) $(PYTHON)

package: $(VENV)/core.done
	@bash tests/package.sh $(PYTHON)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find head_detection tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp *.done is written last. A file "installing" that is left over means that an install was
# interrupted and packages may be incomplete: the environment is then created again.
$(VENV)/core.done: $(LISTS)
	@$(find-python)
	@test ! -e $(VENV)/installing || rm -rf $(VENV)
	@test -x $(VENV)/bin/pip || { echo "Making $(VENV) ..." && $(PYTHON) -m venv --clear $(VENV); }
	@touch $(VENV)/installing
	@echo "Installing (a few minutes and 6 GB on the first run) ..."
	@test -n "$(TORCH_INDEX)" || command -v nvidia-smi >/dev/null || \
	  echo "No NVIDIA card here: TORCH_INDEX=https://download.pytorch.org/whl/cpu would take 1.5 GB."
	@$(if $(TORCH_INDEX),$(PIP) install --index-url "$(TORCH_INDEX)" $$(grep '^torch' requirements.txt))
	@$(PIP) install --editable .
	@$(check-torchvision)
	@mv $(VENV)/installing $@

$(VENV)/track.done: $(VENV)/core.done
	@test ! -e $(VENV)/installing || { rm -rf $(VENV) && $(MAKE) $(VENV)/core.done; }
	@echo "Installing the tracker for videos ..."
	@touch $(VENV)/installing
	@$(PIP) install --quiet --editable '.[track]'
	@$(keep-headless)
	@mv $(VENV)/installing $@

$(VENV)/dev.done: $(VENV)/core.done
	@test ! -e $(VENV)/installing || { rm -rf $(VENV) && $(MAKE) $(VENV)/core.done; }
	@echo "Installing the tools for checks and tests ..."
	@touch $(VENV)/installing
	@$(PIP) install --editable '.[dev]'
	@$(keep-headless)
	@touch $(VENV)/track.done
	@mv $(VENV)/installing $@

# trackers depends on opencv-python, which needs libGL. Both builds write the package cv2, so the
# headless one is installed last.
define keep-headless
$(PIP) install --quiet --force-reinstall --no-deps opencv-python-headless
endef

define find-python
command -v $(PYTHON) >/dev/null || { \
  echo "error: expected Python >= 3.11 as $(PYTHON), found none; run: apt install python3 python3-venv"; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
  echo "error: expected Python >= 3.11, $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=/path/to/python3.12"; exit 1; }; \
$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
  echo "error: $(PYTHON) has no venv module; run: apt install python3-venv"; exit 1; }
endef

define check-torchvision
$(VENV)/bin/python -c 'import torchvision' || { \
  echo "error: torchvision does not load beside this torch (a CPU-only build of torch does not fit);" \
    "leave torch out of pip's constraints, then run again: it installs anew"; exit 1; }
endef
