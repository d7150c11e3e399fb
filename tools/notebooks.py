"""Run the notebooks, compare, store; keep their normal form and their address.

`make notebooks`, `make test`, `make test-seeds` and `make colab` call this file;
CONTRIBUTING.md says when to use which.
"""

import argparse
import base64
import copy
import io
import os
import random
import re
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from PIL import Image

from cells import code, tags
from editions import LINK
from kernels import (
    ALIKE,
    ALIKE_ELSEWHERE,
    differences,
    execute,
    merge_streams,
    two_at_a_time,
)

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAP = (ROOT / "tools" / "bootstrap_cell.py").read_text("utf-8").rstrip("\n")
TAG = re.search(r'^TAG = "(.*)"$', BOOTSTRAP, re.M)[1]
CONFIG = ROOT / "_config.yml"
README = ROOT / "README.md"
IN_CONFIG = re.compile(r'^(\s*repository: )"(.*?)"', re.M)
HOW_TO_RUN = "running.md#in-colab"  # where no address is set
# What a run or an editor leaves in a cell's metadata and no reader needs.
NOISE = (
    *("execution", "ExecuteTime", "collapsed", "scrolled", "vscode", "id"),
    *("outputId", "executionInfo", "colab"),
)
COLOURS = 128  # of a figure
APART = 1000  # seeds: an experiment uses many in a row
ENOUGH = 19 / 20  # of the seeds: on so many a claim must hold
HELD, FAILED, NOT_REACHED = ".", "X", "-"


def repository():
    """The repository's address, "owner/name", or "" while _config.yml has none."""
    return IN_CONFIG.search(CONFIG.read_text("utf-8"))[2]


def colab_link(name, repo, folder=""):
    """The link that runs a chapter, in a file from which `folder` leads to the book."""
    if not repo:
        return f"[How to run it]({folder}{HOW_TO_RUN})"
    place = f"github/{repo}/blob/{TAG}/book/{name}.ipynb"
    return f"[Open in Colab](https://colab.research.google.com/{place})"


def normal_form(path, notebook=None):
    """The text of the notebook at `path`, without what changes by chance.

    A difference then shows what really changed.
    """
    notebook = notebook or nbformat.read(path, as_version=4)
    repo = repository()
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": kernel, "language_info": {"name": "python"}}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        for key in NOISE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            hide_everywhere(cell)
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    png = output.data["image/png"]
                    output.data["image/png"] = fewer_colours(png)
                    # Where the book's build does not read it, others do.
                    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
                    if alt:
                        output.metadata.setdefault("image/png", {})["alt"] = alt
        if cell.id == "bootstrap":
            cell.source = BOOTSTRAP.replace('REPO = ""', f'REPO = "{repo}"')
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(colab_link(path.stem, repo), cell.source)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def hide_everywhere(cell):
    """Hide a cell's code in Colab and JupyterLab too, where its tag hides it here."""
    cell.metadata.pop("cellView", None)
    cell.metadata.pop("jupyter", None)
    if {"hide-input", "hide-cell"} & set(tags(cell)):
        cell.metadata["cellView"] = "form"
        cell.metadata["jupyter"] = {"source_hidden": True}


def fewer_colours(png):
    """The picture with few colours: no difference to the eye, a third of the bytes."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":
        return png
    buffer = io.BytesIO()
    small = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    small.save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def write(path, text):
    """Replace the file at once, so that an interruption never leaves half of it."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".", suffix=".tmp", encoding="utf-8", delete=False
    ) as beside:
        beside.write(text)
    Path(beside.name).chmod(path.stat().st_mode)
    os.replace(beside.name, path)


def timed(path, **options):
    """Run the notebook at `path`: (as stored, as run, problem or None, seconds)."""
    stored = nbformat.read(path, as_version=4)
    again = copy.deepcopy(stored)
    start = time.perf_counter()
    problem = execute(again, path.parent, **options)
    return stored, again, problem, time.perf_counter() - start


def run(paths):
    """Run the notebooks and store their outputs. Returns how many could not be.

    Those are left as they were, and so is one that somebody edited in the meantime.
    """

    def store(path):
        before = path.read_bytes()
        _, notebook, problem, seconds = timed(path)
        if problem:
            return f"left as it was. {problem}", True
        if path.read_bytes() != before:
            return "left as it was: it was edited while it ran. Run it again", True
        write(path, normal_form(path, notebook))
        return f"ran in {seconds:.0f} s", False

    return report(paths, store)


def check(paths, at_least=ALIKE):
    """Run the notebooks and compare what they give with what is stored.

    at_least: see `kernels.differences`.
    """

    def compare(path):
        stored, again, problem, seconds = timed(path, audit=True)
        problems = [problem] if problem else differences(stored, again, at_least)
        return "\n".join(problems) or f"as stored, in {seconds:.0f} s", bool(problems)

    return report(paths, compare, "{} passed, {} failed")


def report(paths, function, summary=None):
    """Print what `function` says of each path; returns how many it calls failed."""
    failed = 0
    for path, (said, wrong) in zip(paths, two_at_a_time(function, paths)):
        print(f"{path.name}: {said}", flush=True)
        failed += wrong
    if summary:
        print(summary.format(len(paths) - failed, failed))
    return failed


def seeds(paths, firsts):
    """Run the notebooks under other seeds, storing nothing, and print a table.

    One row per claim and exercise, one column per seed. Returns how many of them held
    on too few.
    """
    jobs = [(path, first) for path in paths for first in firsts]
    marks, evidence = {}, []

    def job(path_and_first):
        path, first = path_and_first
        return timed(path, seed=first, go_on=True)

    for (path, first), result in zip(jobs, two_at_a_time(job, jobs)):
        stored, again, problem, seconds = result
        verdicts = verdicts_of(stored, again)
        failures = [f"{path.stem}: {problem}"] if problem else []
        marks[path.stem, "runs to its end", first] = FAILED if problem else HELD
        for cell, (mark, said) in verdicts.items():
            marks[path.stem, cell, first] = mark
            if mark == FAILED:
                failures.append(f"{path.stem}: {cell}: {said}")
        evidence += [f"seed {first}, {failure}" for failure in failures]
        state = f"{len(failures)} failed" if failures else "all held"
        print(f"seed {first}, {path.name}: {state}, {seconds:.0f} s", flush=True)
    print_table(marks, firsts)
    print(*evidence, sep="\n")
    rows = {(name, cell) for name, cell, _ in marks}
    held = {
        row: sum(marks[*row, first] == HELD for first in firsts) / len(firsts)
        for row in rows
    }
    return sum(share < ENOUGH for share in held.values())


def verdicts_of(stored, again):
    """{cell id: (mark, what it said)} for each claim and each exercise's solution."""
    verdicts = {}
    for before, now in zip(code(stored), code(again), strict=True):
        errors = [output for output in now.outputs if output.output_type == "error"]
        printed = "".join(output.get("text", "") for output in now.outputs)
        if "claim" in tags(before):
            claims = ["claim" in output.get("metadata", {}) for output in now.outputs]
            held = any(claims)
        elif "solution" in tags(before):
            held = printed.endswith("right.\n")
        else:
            continue
        said = " ".join([printed, *(error.evalue for error in errors)]).strip()
        if not now.outputs:
            verdicts[before.id] = NOT_REACHED, said
        else:
            verdicts[before.id] = (HELD if held and not errors else FAILED), said
    return verdicts


def print_table(marks, firsts):
    rows = list(dict.fromkeys((name, cell) for name, cell, _ in marks))
    width = max(len(f"{name}: {cell}") for name, cell in rows)
    columns = " ".join(f"{number:2d}" for number in range(1, len(firsts) + 1))
    print(f"\n{'claim or solution':{width}}  held  {columns}")
    for name, cell in rows:
        row = [marks[name, cell, first] for first in firsts]
        held = f"{row.count(HELD)}/{len(row)}"
        line = " ".join(f"{mark:>2}" for mark in row)
        print(f"{f'{name}: {cell}':{width}} {held:>5}  {line}")
    print(f"{HELD} held, {FAILED} failed, {NOT_REACHED} not reached; seeds: ", end="")
    print(*firsts, sep=", ")


def chosen_seeds(values, master):
    """The seeds that `values` list, or as many as a single small value says.

    Those are drawn from the master seed, which is printed: with it, they can be
    drawn again.
    """
    if len(values) == 1 and 1 <= values[0] < APART:
        master = random.SystemRandom().randrange(10**6) if master is None else master
        print(f"{values[0]} seeds, drawn from MASTER={master}", flush=True)
        return [
            APART * number
            for number in random.Random(master).sample(range(1, 10**6), values[0])
        ]
    apart = sorted([0, *values])
    if any(after - before < APART for before, after in zip(apart, apart[1:])):
        sys.exit(
            f"Seeds must be at least {APART} apart, and {APART} or more: an experiment "
            f"uses many seeds in a row. (One number below {APART} is a count.)"
        )
    return values


def set_repository(repo, paths):
    """Write the address into _config.yml, and from there into README and notebooks."""
    write(CONFIG, IN_CONFIG.sub(rf'\g<1>"{repo}"', CONFIG.read_text("utf-8")))
    write(README, readme_with_address())
    for path in paths:
        write(path, normal_form(path))


def readme_with_address():
    """README.md's text; each Colab link follows a link to its notebook on its line."""
    pattern = re.compile(r"(\(book/(\w+)\.ipynb\).*?)" + LINK.pattern)
    return pattern.sub(
        lambda match: match[1] + colab_link(match[2], repository(), "book/"),
        README.read_text("utf-8"),
    )


def normalise(paths, only_check):
    """Store the notebooks in their normal form, or only say which are not in it."""
    changed = [path for path in paths if normal_form(path) != path.read_text("utf-8")]
    for path in changed:
        said = "is not in its normal form" if only_check else "normalised"
        print(f"{path.name}: {said}")
        if not only_check:
            write(path, normal_form(path))
    return only_check and len(changed)


def existing(text):
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def address(text):
    if not re.fullmatch(r"[A-Za-z0-9-]+/(?!\.+$)[\w.-]+(?<!\.git)", text):
        sys.exit(
            "The address must read OWNER/NAME, as in `make colab REPO=owner/name`, "
            f"and {text!r} does not."
        )
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (
        ("run", "run and store"),
        ("check", "run and compare with what is stored"),
        ("normalise", "store in the normal form, without running"),
    ):
        command = commands.add_parser(name, help=does)
        command.add_argument(
            "notebooks", nargs="*", type=existing, help="default: all of the book's"
        )
        if name == "check":
            command.add_argument(
                "--other-versions", action="store_true", help="figures may look other"
            )
    command.add_argument(
        "--check", action="store_true", help="store nothing, fail if it would change"
    )
    command = commands.add_parser("seeds", help="run under other seeds")
    command.add_argument(
        "seeds", nargs="+", type=int, help=f"seeds, or how many (below {APART})"
    )
    command.add_argument("--master", type=int, help="what they are drawn from")
    command.add_argument("--notebooks", nargs="*", type=existing)
    command = commands.add_parser("colab", help="set the repository's address")
    command.add_argument("repository", metavar="OWNER/NAME", type=address)
    arguments = parser.parse_args()

    every = sorted((ROOT / "book").glob("*.ipynb"))
    paths = getattr(arguments, "notebooks", None) or every
    if arguments.command == "run":
        return run(paths)
    if arguments.command == "check":
        return check(paths, ALIKE_ELSEWHERE if arguments.other_versions else ALIKE)
    if arguments.command == "seeds":
        return seeds(paths, chosen_seeds(arguments.seeds, arguments.master))
    if arguments.command == "colab":
        return set_repository(arguments.repository, every)
    return normalise(paths, arguments.check)


if __name__ == "__main__":
    sys.exit(min(main() or 0, 100))
