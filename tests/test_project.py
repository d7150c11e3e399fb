"""What the project's files say about each other: versions, commands, requirements; and what none of them may say."""

import re
import subprocess
import tomllib

import notebooks
import pytest
from packaging.requirements import Requirement

import helpers

ROOT = notebooks.ROOT
# Written in two parts, so that this file does not hold what it forbids.
FORBIDDEN = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js",
    "debian" + ".org",
    "jsde" + "livr",
    "un" + "pkg.com",
    ".." + "/shared",
    "/wo" + "rk/",
    "/ro" + "ot/",
    "clau" + "de",
    "anthro" + "pic",
]


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
    for line in read(name).splitlines():
        requirement = Requirement(line)
        [specifier] = requirement.specifier
        assert specifier.operator == "==", line
        found.setdefault(requirement.name, set()).add(
            (specifier.version, str(requirement.marker or ""))
        )
    return found


def wanted(name):
    lines = [
        line
        for line in read(name).splitlines()
        if line and not line.startswith(("#", "-r"))
    ]
    return [Requirement(line) for line in lines]


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


@pytest.mark.parametrize("name", ["requirements", "requirements-book"])
def test_locks_cover_the_requirements(name):
    locked = pins(f"{name}.lock")
    for requirement in wanted(f"{name}.txt"):
        assert {f"=={version}" for version, _ in locked[requirement.name]} == {
            str(requirement.specifier)
        }, requirement


def test_the_book_installs_the_same_versions_as_the_rest_and_no_torch():
    book, everything = pins("requirements-book.lock"), pins("requirements.lock")
    for name, versions in book.items():
        assert {version for version, _ in versions} == {
            version for version, _ in everything[name]
        }, name
    assert not {"torch", "torchvision", "timm"} & set(book)
    assert "-r requirements-book.txt" in read("requirements.txt").splitlines()


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
        line for line in read("README.md").splitlines() if "[Open in Colab](" in line
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
