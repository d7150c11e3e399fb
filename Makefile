# Each command sets up what it needs, once: a virtual environment in .venv, made by uv where it is installed
# and by venv and pip where it is not.

PYTHON ?= python3
SEEDS ?= 1000 2000 3000
UV := $(shell command -v uv)
BIN := .venv/bin

ifdef UV
NEW_VENV := uv venv --quiet --clear --python $(PYTHON) .venv
INSTALL := uv pip install --quiet --python $(BIN)/python
else
NEW_VENV := $(PYTHON) -m venv --clear .venv
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

NBVAL := $(BIN)/pytest --nbval --nbval-current-env --nbval-cell-timeout=300 book
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default

# The stored outputs are those of the first seeds; only `make test-seeds` asks for others.
unexport BOOK_SEED
# Without it every kernel of a recent Python warns about debugging.
export PYDEVD_DISABLE_FILE_VALIDATION := 1

.PHONY: help book test notebooks test-seeds test-colab bench ppo colab lock clean

help:
	@echo "make book                     build the book from the stored outputs"
	@echo "make test                     check everything the book says"
	@echo "make notebooks [NB=FILE]      run the notebooks and store their outputs"
	@echo "make test-seeds [SEEDS=LIST]  run the notebooks under other seeds"
	@echo "make test-colab               run the notebooks as Colab meets them"
	@echo "make bench                    measure the speed"
	@echo "make ppo                      train Stable-Baselines3's PPO on the tanks again (half an hour)"
	@echo "make colab REPO=OWNER/NAME    set the repository's address on GitHub"
	@echo "make lock                     pin the requirements again (needs uv)"
	@echo "make clean                    remove what these commands made"

book: .venv/book-installed
	$(BIN)/jupyter-book build -W -n --keep-going .
	@echo "The book is in $(CURDIR)/_build/html/index.html: open it in a browser."

test: .venv/all-installed
	$(BIN)/pytest
	@echo "Every notebook, every output, as this machine runs it:"
	$(NBVAL)
	@echo "The same on one thread without vector instructions, two notebooks at a time:"
	$(ONE_THREAD) $(NBVAL) --numprocesses 2 --dist loadfile

notebooks: .venv/all-installed
	$(BIN)/python tools/notebooks.py run $(NB)

test-seeds: .venv/all-installed
	$(BIN)/python tools/notebooks.py seeds $(SEEDS)

test-colab:
	@$(PYTHON) tools/check_python.py
	$(PYTHON) tests/run_colab.py

bench: .venv/all-installed
	$(BIN)/python tests/bench.py

ppo: .venv/all-installed
	$(BIN)/python tools/ppo_tanks.py

colab: .venv/all-installed
	$(BIN)/python tools/notebooks.py colab "$(REPO)"

lock:
	$(if $(UV),,$(error make lock needs uv))
	$(UV) $(COMPILE) requirements.txt -o requirements.lock
	$(UV) $(COMPILE) requirements-book.txt -c requirements.lock -o requirements-book.lock

clean:
	rm -rf _build .venv .venv-colab

# A stamp is touched last, so an interrupted installation is done again.
.venv/made:
	@$(PYTHON) tools/check_python.py
	$(NEW_VENV)
	@touch $@

.venv/book-installed: requirements-book.lock | .venv/made
	$(INSTALL) -r requirements-book.lock
	@touch $@

.venv/all-installed: requirements.lock pyproject.toml | .venv/made
	$(INSTALL) -r requirements.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

COMPILE := pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header
