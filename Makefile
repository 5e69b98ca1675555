# make digits   train a conditional GAN on real digits and write result.png   (make digits DIGITS=2023)
# make test     run the tests          make check   lint, types, import rules          make bench   the speed table
# make figures  the tables of docs/figures.md and docs/pictures.md, two days of training; goes on where it stopped
#               (some of them: make figures TABLES='recipes modes')
# Each makes .venv when it is absent, or older than pyproject.toml. Another Python: make PYTHON=python3.12 ...

PYTHON ?= python3
DIGITS ?= 20231223
READY = .venv/ready

.PHONY: digits test check bench figures clean

digits: $(READY)
	.venv/bin/ganvas train r3gan/digits --minutes 2 --out runs/digits
	.venv/bin/ganvas sample runs/digits --labels $(DIGITS) --out result.png

test: $(READY)
	.venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

check: $(READY)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

bench: $(READY)
	.venv/bin/python benchmarks/speed.py

figures: $(READY)
	.venv/bin/python benchmarks/figures.py $(TABLES)

clean:
	rm -rf .venv dist

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ganvas needs Python 3.11 or newer; name one: make PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip' || \
	  { echo "this Python cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $(READY)
