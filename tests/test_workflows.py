"""The workflows on GitHub: few rights, pinned actions, and steps that do what they say.

Nothing is run on GitHub here. The steps that are ours run in a shell as GitHub starts
it, with stand-ins for `make` and `gh` that write down how they were called.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

import notebooks

ROOT = notebooks.ROOT
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FILES}
JOBS = {
    f"{name}: {key}": job
    for name, workflow in WORKFLOWS.items()
    for key, job in workflow["jobs"].items()
}
# What a job may write. The others may read the files, and no more.
WRITES = {
    "book: publish": {"pages", "id-token"},
    "book: release": {"contents"},
    "weekly: report": {"issues"},
}
WORKSHOP = "downloads/multilabel-workshop.zip"


def step(job, name):
    [found] = [each for each in JOBS[job]["steps"] if each["name"] == name]
    return found


@pytest.fixture
def stand_in(tmp_path):
    """A function: put a command on the path that writes down how it was called."""
    commands = tmp_path / "commands"
    commands.mkdir()

    def put(name, script=""):
        notes = tmp_path / f"{name}.calls"
        command = commands / name
        command.write_text(f'#!/bin/bash\necho "$*" >> {notes}\n{script}\n')
        command.chmod(0o755)

    return put


@pytest.fixture
def run(tmp_path):
    """A function: run a job's step as GitHub would, in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()

    def run(job, name, **environment):
        shell = ["bash", "-e"]
        if "defaults" in WORKFLOWS[job.partition(":")[0]]:
            shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
        path = f"{tmp_path / 'commands'}:{os.environ['PATH']}"
        return subprocess.run(
            [*shell, "-c", step(job, name)["run"]],
            cwd=folder,
            env={"PATH": path, "RUNNER_TEMP": str(tmp_path), **environment},
            capture_output=True,
            text=True,
        )

    run.folder = folder
    return run


def calls(tmp_path, name):
    return (tmp_path / f"{name}.calls").read_text("utf-8").splitlines()


def test_zizmor_finds_nothing():
    found = subprocess.run(
        [
            Path(sys.executable).with_name("zizmor"),
            "--offline",
            "--pedantic",
            "--strict-collection",
            "--no-progress",
            ROOT / ".github",
        ],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_actions_are_github_s_own_and_pinned_alike():
    pins = {}
    for path in FILES:
        for action, pin in re.findall(r"uses: (.*?)@(.*)", path.read_text("utf-8")):
            assert action.startswith("actions/"), action
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), (action, pin)
            assert pins.setdefault(action, pin) == pin, f"{action} has two versions"
    assert len(pins) == 4, "as few as possible"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_may_do_nothing_by_itself(name):
    assert WORKFLOWS[name]["permissions"] == {}
    assert "pull_request_target" not in WORKFLOWS[name][True]  # so YAML reads `on`


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_may_write_runs_none_of_our_code(name):
    job = JOBS[name]
    writes = {key for key, right in job["permissions"].items() if right != "read"}
    assert writes == WRITES.get(name, set())
    text = yaml.dump(job["steps"])
    if writes:
        assert "checkout" not in text and "make" not in text.split()
    else:
        assert job["permissions"] == {"contents": "read"}
        assert job["steps"][0]["with"] == {"persist-credentials": False}
    assert "secrets." not in text
    assert job["timeout-minutes"] > 0


def test_no_expression_becomes_part_of_a_command():
    for name, job in JOBS.items():
        for each in job["steps"]:
            assert "${{" not in each.get("run", ""), (name, each["name"])


def test_commands_exist():
    commands = "\n".join(
        each.get("run", "") for job in JOBS.values() for each in job["steps"]
    )
    used = set(" ".join(re.findall(r"^make ([a-z -]+)", commands, re.M)).split())
    assert used == {"book", "workshop", "test-colab", "test-seeds"}
    makefile = (ROOT / "Makefile").read_text("utf-8")
    missing = used - set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert not missing, f"the Makefile has no {missing}"
    for setting, file in (("NEWEST", "tests/run_colab.py"), ("SEEDS", "Makefile")):
        assert f"{setting}=" in commands
        assert setting in (ROOT / file).read_text("utf-8"), f"{file} reads no {setting}"
    assert os.access(ROOT / step("book: check", "Check everything")["run"], os.X_OK)


def test_what_is_published_was_checked():
    steps = JOBS["book: check"]["steps"]
    order = [each.get("run") for each in steps]
    assert order.index(".ci/run") < len(order) - 1
    assert not any("continue-on-error" in each for each in steps)
    for job in ("publish", "release"):
        assert JOBS[f"book: {job}"]["needs"] == "check"
    assert JOBS["book: publish"]["if"] == "github.ref == 'refs/heads/main'"
    assert JOBS["book: release"]["if"] == "github.ref_type == 'tag'"


def test_a_tag_must_be_the_version(run):
    shutil.copy(ROOT / "CITATION.cff", run.folder)

    def ends(tag):
        name = "Compare the tag with the version"
        return run("book: check", name, GITHUB_REF_NAME=tag).returncode

    assert ends(notebooks.TAG) == 0
    for other in ("v9.9.9", notebooks.TAG.replace(".", "x"), notebooks.TAG[:-1]):
        assert ends(other) == 1, other


def test_the_workshop_goes_from_the_build_into_the_release(run, stand_in, tmp_path):
    zip_it = "echo zip > _build/multilabel-workshop.zip"
    stand_in("make", f"mkdir -p _build/html && {zip_it}")
    built = run("book: check", "Build the pages and the workshop")
    assert built.returncode == 0, built.stderr
    assert calls(tmp_path, "make") == ["book workshop"]

    # Then they are packed, as the action does it.
    handed = step("book: check", "Hand the pages over")["with"]
    with tarfile.open(tmp_path / "artifact.tar", "w") as packed:
        packed.add(run.folder / handed["path"], ".")
    shutil.rmtree(run.folder / "_build")
    assert JOBS["book: check"]["outputs"]["pages"] == handed["name"]

    # There is no release yet: `gh release view` fails.
    fetch = f'[ "$1" != run ] || cp {tmp_path}/artifact.tar .'
    stand_in("gh", f'{fetch}; [ "$2" != view ]')
    known = {"GITHUB_RUN_ID": "5", "PAGES": "pages-1", "GITHUB_REF_NAME": "v1.2.3"}
    for name in ("Fetch the workshop", "Attach it"):
        done = run("book: release", name, **known)
        assert done.returncode == 0, done.stderr
    assert (run.folder / WORKSHOP).read_text("utf-8") == "zip\n"
    fetched, viewed, created, uploaded = calls(tmp_path, "gh")
    assert fetched == "run download 5 --name pages-1"
    assert created.startswith("release create v1.2.3 --verify-tag --title v1.2.3 ")
    assert uploaded == f"release upload v1.2.3 {WORKSHOP} --clobber"

    # Now there is one.
    stand_in("gh")
    assert run("book: release", "Attach it", **known).returncode == 0
    assert calls(tmp_path, "gh")[4:] == [viewed, uploaded]


@pytest.mark.parametrize(
    "name",
    [
        "Run the notebooks with the newest versions of Colab's packages",
        "Run the notebooks under fresh seeds",
    ],
)
def test_a_weekly_step_fails_with_its_command(name, run, stand_in, tmp_path):
    stand_in("make", "echo said; exit 2")
    ended = run("weekly: run", name)
    assert (ended.returncode, ended.stdout) == (2, "said\n")
    [log] = tmp_path.glob("*.log")
    assert log.read_text("utf-8") == "said\n"


def test_a_weekly_step_ends_before_its_job():
    job = JOBS["weekly: run"]
    limits = [each["timeout-minutes"] for each in job["steps"] if "tee" in str(each)]
    assert len(limits) == 2 and sum(limits) < job["timeout-minutes"]


@pytest.mark.parametrize("already_open", ["", "12"])
def test_one_issue_says_what_failed(already_open, run, stand_in, tmp_path):
    (tmp_path / "newest.log").write_text("all fine\n")
    (tmp_path / "seeds.log").write_text("long " * 20_000 + "\nclaim-bce: `$(id)`\n")
    output = tmp_path / "output"
    kept = run("weekly: run", "Keep the ends of the logs", GITHUB_OUTPUT=str(output))
    assert kept.returncode == 0, kept.stderr
    [line] = output.read_text("utf-8").splitlines()
    assert len(line) < 100_000, "too long for an environment variable"

    stand_in("gh", f'[ "$2" != list ] || echo "{already_open}"')
    known = {
        "LOGS": line.removeprefix("logs="),
        "TITLE": JOBS["weekly: report"]["env"]["TITLE"],
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "owner/name",
        "GITHUB_RUN_ID": "5",
    }
    for name in ("Write the text", "Open the issue, or comment on the open one"):
        done = run("weekly: report", name, **known)
        assert done.returncode == 0, done.stderr
    text = (run.folder / "text.md").read_text("utf-8")
    assert text.startswith("https://github.com/owner/name/actions/runs/5\n\n    ==> ")
    assert "\n    all fine\n" in text
    assert text.endswith("\n    claim-bce: `$(id)`\n")
    assert len(text) < 65_536, "too long for an issue"

    listed, said = calls(tmp_path, "gh")
    assert listed.startswith("issue list --app github-actions")
    if already_open:
        assert said == "issue comment 12 --body-file text.md"
    else:
        assert said == f"issue create --title {known['TITLE']} --body-file text.md"


def test_three_steps_lead_to_a_public_book(stand_in, tmp_path):
    """The page's commands, in a copy of the project; a folder takes GitHub's place."""
    page = (ROOT / "book" / "running.md").read_text("utf-8")
    steps = page.partition("to a public book, in three steps\n")[2]
    [commands] = re.findall(r"```bash\n(.*?)```", steps, re.S)
    assert set(re.findall(r"v\d+\.\d+\.\d+", steps)) == {notebooks.TAG}

    copy, github = tmp_path / "copy", tmp_path / "github"
    left_out = [".git", ".venv*", "_build", "mutants", "__pycache__", ".*_cache"]
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*left_out))
    stand_in("make", f'"{sys.executable}" tools/notebooks.py colab "${{2#REPO=}}"')
    git_config = f"""
        [user]
            name = test
            email = test
        [init]
            defaultBranch = other
        [url "{github}"]
            insteadOf = https://github.com/owner/name
    """
    (tmp_path / "gitconfig").write_text(git_config)
    # A copy has the tag already, on a commit without the address.
    before = f"""
        git init --quiet --bare {github}
        git init --quiet
        git add --all
        git commit --quiet --message before
        git tag {notebooks.TAG}
    """
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'commands'}:{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": str(tmp_path / "gitconfig"),
    }
    for script in (before, commands):
        subprocess.run(["bash", "-ec", script], cwd=copy, env=environment, check=True)

    def pushed(*arguments):
        asked = ["git", "-C", github, *arguments]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout

    assert pushed("rev-parse", "refs/heads/main") == pushed("rev-parse", notebooks.TAG)
    assert 'repository: "owner/name"' in pushed("show", "main:_config.yml")
    assert "owner/name" in pushed("show", "main:book/loss.ipynb")
    workflows = pushed("ls-tree", "--name-only", "main", ".github/workflows/").split()
    assert workflows == [f".github/workflows/{path.name}" for path in FILES]

    # What the page says of the workflows.
    assert WORKFLOWS["book"][True]["push"] == {"branches": ["main"], "tags": ["v*"]}
    assert f"up to {JOBS['book: check']['timeout-minutes']} minutes" in steps
    assert f"*{JOBS['book: publish']['name']}*" in steps
    assert f"https://owner.github.io/name/{WORKSHOP}" in steps
    assert "20 fresh seeds" in steps and "SEEDS=20 " in str(JOBS["weekly: run"])
