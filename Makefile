# Each command sets up what it needs, once: a virtual environment in .venv (a learner's in
# .venv-learn), made by uv where it is installed, and by venv and pip where it is not.

PYTHON ?= python3
SEEDS ?= 3
UV := $(shell command -v uv)
VENV := .venv
.venv-learn/%: VENV := .venv-learn
BIN = $(VENV)/bin

ifdef UV
NEW_VENV = uv venv --quiet --clear --seed --python $(PYTHON) $(VENV)
INSTALL = uv pip install --quiet --python $(BIN)/python
CPU_TORCH = $(INSTALL) --torch-backend=cpu 2>/dev/null
else
NEW_VENV = $(PYTHON) -m venv --clear $(VENV)
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
CPU_TORCH = $(if $(TORCH_INDEX),$(INSTALL) --index-url $(TORCH_INDEX),false)
endif

# The stored outputs are those of the first seeds.
unexport BOOK_SEED
# Without it every kernel of a recent Python warns about debugging.
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.PHONY: help learn book workshop test notebooks test-seeds test-colab format bench mutants ppo scale colab wheels lock clean

help:
	@echo "make learn                    what a learner needs, and nothing else"
	@echo "make book                     build the book from the stored outputs"
	@echo "make workshop                 pack all that a room without a network needs into one zip"
	@echo "make test                     check everything the book says"
	@echo "make notebooks [NB=FILE]      run the notebooks and store their outputs"
	@echo "make test-seeds [SEEDS=LIST]  run the notebooks under other seeds: a list, or how many"
	@echo "make test-colab               run the notebooks as Colab meets them"
	@echo "make format                   bring code and notebooks into their form"
	@echo "make bench                    measure the speed"
	@echo "make mutants [ONLY=PATTERN]   break the helpers in small ways, and see which tests notice (an hour)"
	@echo "make ppo                      train Stable-Baselines3's PPO on the tanks again (half an hour)"
	@echo "make scale                    measure again what many labels take (two minutes, 1 GB)"
	@echo "make colab REPO=OWNER/NAME    set the repository's address on GitHub"
	@echo "make wheels                   fill a folder to install from without a network; for others with"
	@echo "                              PLATFORM=windows, macos or linux, and PYTHON_VERSION=3.12"
	@echo "make lock                     pin the requirements again (needs uv)"
	@echo "make clean                    remove what these commands made"

learn: .venv-learn/installed
	.venv-learn/bin/python check_setup.py
	@echo "To start, type: .venv-learn/bin/jupyter lab book"

book: .venv/book-installed
	$(BIN)/jupyter-book build -W -n --keep-going .
	@echo "The book is in $(CURDIR)/_build/html/index.html: open it in a browser."

# The pages are built from nothing: what is left of another build may be in another order.
workshop:
	rm -rf _build/html _build/.doctrees
	$(MAKE) book
	$(BIN)/python tools/workshop.py

test: .venv/all-installed
	$(BIN)/pytest --numprocesses 2 --dist loadfile
	@echo "Every notebook, every output and figure, without vector instructions:"
	ATEN_CPU_CAPABILITY=default $(BIN)/python tools/notebooks.py check

notebooks: .venv/all-installed
	$(BIN)/python tools/notebooks.py run $(NB)

test-seeds: .venv/all-installed
	$(BIN)/python tools/notebooks.py seeds $(SEEDS) $(if $(MASTER),--master $(MASTER)) $(if $(NB),--notebooks $(NB))

test-colab:
	@$(PYTHON) tools/check_python.py
	$(PYTHON) tests/run_colab.py

format: .venv/all-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/notebooks.py normalise

bench: .venv/all-installed
	$(BIN)/python tests/bench.py

mutants: .venv/all-installed
	$(INSTALL) mutmut==3.8.1
	-$(BIN)/mutmut run $(ONLY)
	$(BIN)/mutmut results

ppo: .venv/all-installed
	$(BIN)/python tools/ppo_tanks.py

scale: .venv/all-installed
	$(BIN)/python tools/measure_scale.py

colab: .venv/all-installed
	$(BIN)/python tools/notebooks.py colab "$(REPO)"

wheels: .venv/book-installed
	$(BIN)/python tools/wheels.py $(if $(PLATFORM),--platform $(PLATFORM)) \
	    $(if $(PYTHON_VERSION),--python $(PYTHON_VERSION)) \
	    $(if $(TORCH_INDEX),--torch-index $(TORCH_INDEX))

lock:
	$(if $(UV),,$(error make lock needs uv))
	$(UV) $(COMPILE) requirements.txt -o requirements.lock
	$(UV) $(COMPILE) requirements-book.txt -c requirements.lock -o requirements-book.lock
	$(UV) $(COMPILE) pyproject.toml requirements-learn.txt -c requirements.lock -o requirements-learn.lock

clean:
	rm -rf _build .venv .venv-colab .venv-learn mutants wheels

# A stamp is touched last, so an interrupted installation is done again.
.venv/made:
	@$(PYTHON) tools/check_python.py
	$(NEW_VENV)
	@touch $@

.venv/book-installed: requirements-book.lock | .venv/made
	$(INSTALL) --require-hashes --no-deps -r requirements-book.lock
	@touch $@

# PyTorch's build for the CPU where its index can be reached. It needs no CUDA, which is
# all that a lock has for Linux alone. Else PyPI's build, with CUDA.
define install_with_torch
	$(CPU_TORCH) --no-deps $$(grep -oE '^torch(vision)?==[^ ]+' $<) \
	    && sed "/== 'linux'/,/[^\]$$/d" $< > $(VENV)/lock \
	    || cp $< $(VENV)/lock
	$(INSTALL) --require-hashes --no-deps -r $(VENV)/lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@
endef

.venv/all-installed: requirements.lock pyproject.toml | .venv/made
	$(install_with_torch)

.venv-learn/installed: requirements-learn.lock pyproject.toml | .venv-learn/made
	$(install_with_torch)

.venv-learn/made:
	@$(PYTHON) check_setup.py --before
	$(NEW_VENV)
	@touch $@

COMPILE := pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header --generate-hashes
