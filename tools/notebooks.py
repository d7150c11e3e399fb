"""Run the notebooks, bring them into their normal form, and set the repository's address in them.

`make notebooks`, `make test-seeds` and `make colab` call this file; CONTRIBUTING.md says when to use which.
"""

import argparse
import base64
import io
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BOOTSTRAP = (ROOT / "tools" / "bootstrap_cell.py").read_text("utf-8").rstrip("\n")
TAG = re.search(r'^TAG = "(.*)"$', BOOTSTRAP, re.M)[1]
CONFIG = ROOT / "_config.yml"
README = ROOT / "README.md"
IN_CONFIG = re.compile(r'^(\s*repository: )"(.*?)"', re.M)
COLAB_LINK = re.compile(r"\[Open in Colab\]\([^)]*\)")
ANSI_COLOUR = re.compile(r"\x1b\[[\d;]*m")
# What a run or an editor leaves in a cell's metadata and no reader needs.
NOISE = (
    "execution",
    "ExecuteTime",
    "collapsed",
    "scrolled",
    "vscode",
    "id",
    "outputId",
    "executionInfo",
    "colab",
)


def repository():
    """The repository's address, "owner/name", or "" while it is not set. It is kept in _config.yml."""
    return IN_CONFIG.search(CONFIG.read_text("utf-8"))[2]


def colab_link(name, repo):
    path = f"github/{repo}/blob/{TAG}/book/{name}.ipynb" if repo else ""
    return f"[Open in Colab](https://colab.research.google.com/{path})"


def normal_form(path, notebook=None):
    """The text of the notebook at `path`, without what changes by chance: a difference then shows what really changed."""
    notebook = notebook or nbformat.read(path, as_version=4)
    repo = repository()
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        for key in NOISE:
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = fewer_colours(output.data["image/png"])
        if cell.id == "bootstrap":
            cell.source = BOOTSTRAP.replace('REPO = ""', f'REPO = "{repo}"')
        if cell.cell_type == "markdown":
            cell.source = COLAB_LINK.sub(colab_link(path.stem, repo), cell.source)
    nbformat.validate(notebook)
    return nbformat.writes(notebook) + "\n"


def merge_streams(outputs):
    """Printed lines arrive in pieces that depend on the moment: join those of one stream."""
    merged = []
    for output in outputs:
        if (
            merged
            and output.output_type == "stream"
            and (merged[-1].output_type, merged[-1].get("name"))
            == ("stream", output.name)
        ):
            merged[-1].text += output.text
        else:
            merged.append(output)
    return merged


def fewer_colours(png):
    """The same picture with a palette of 256 colours: no difference to the eye, and a third of the bytes to load."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P" or picture.is_animated:
        return png
    buffer = io.BytesIO()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
        buffer, "png", optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def execute(notebook, folder):
    """Run every cell in a new kernel that starts in `folder`. Returns None, or a text that names the failing cell and its error."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--Application.log_level=ERROR"],
    )
    try:
        client.execute()
    except CellExecutionError as error:
        cell = next(
            cell
            for cell in notebook.cells
            if any(output.output_type == "error" for output in cell.get("outputs", []))
        )
        trace = next(
            output.traceback for output in cell.outputs if output.output_type == "error"
        )
        return ANSI_COLOUR.sub(
            "",
            f"cell {cell.id!r} raised {error.ename}: {error.evalue}\n"
            + "\n".join(trace),
        )
    except (CellTimeoutError, DeadKernelError) as error:
        return f"{type(error).__name__}: {error}"


def write(path, text):
    """Replace the file at once, so that an interruption never leaves half of it."""
    beside = path.with_suffix(".tmp")
    beside.write_text(text, "utf-8")
    os.replace(beside, path)


def run(paths):
    """Run the notebooks and store their outputs. Returns how many failed; those are left as they were."""
    failed = 0
    for path in paths:
        notebook = nbformat.read(path, as_version=4)
        start = time.perf_counter()
        problem = execute(notebook, path.parent)
        if problem:
            failed += 1
            print(f"{path.name}: left as it was. {problem}", flush=True)
        else:
            write(path, normal_form(path, notebook))
            print(
                f"{path.name}: ran in {time.perf_counter() - start:.0f} s", flush=True
            )
    return failed


def seeds(paths, firsts):
    """Run the notebooks under other seeds, without storing anything. Returns how many runs failed."""
    failed = 0
    for first in firsts:
        os.environ["BOOK_SEED"] = str(first)
        for path in paths:
            notebook = nbformat.read(path, as_version=4)
            problem = execute(notebook, path.parent) or wrong_solutions(notebook)
            failed += bool(problem)
            print(
                f"seed {first}, {path.name}: {problem or 'every claim holds'}",
                flush=True,
            )
    return failed


def wrong_solutions(notebook):
    for cell in notebook.cells:
        if "solution" in cell.metadata.get("tags", []):
            said = "".join(output.get("text", "") for output in cell.outputs)
            if not said.endswith("right.\n"):
                return f"the solution in cell {cell.id!r} is not right: {said}"


def set_repository(repo, paths):
    """Write the repository's address into _config.yml, and from there into README.md and the notebooks."""
    write(CONFIG, IN_CONFIG.sub(rf'\g<1>"{repo}"', CONFIG.read_text("utf-8")))
    write(README, readme_with_address())
    for path in paths:
        write(path, normal_form(path))


def readme_with_address():
    """README.md's text with its Colab links, each of which follows a link to the notebook on the same line."""
    pattern = re.compile(r"(\(book/(\w+)\.ipynb\).*?)" + COLAB_LINK.pattern)
    return pattern.sub(
        lambda match: match[1] + colab_link(match[2], repository()),
        README.read_text("utf-8"),
    )


def existing(text):
    path = Path(text).resolve()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, does in (
        ("run", "run and store"),
        ("normalise", "store in the normal form, without running"),
    ):
        command = commands.add_parser(name, help=does)
        command.add_argument(
            "notebooks", nargs="*", type=existing, help="default: all of the book's"
        )
    command.add_argument(
        "--check",
        action="store_true",
        help="store nothing, fail where something would change",
    )
    command = commands.add_parser("seeds", help="run under other seeds")
    command.add_argument("firsts", nargs="+", type=int, metavar="SEED")
    command = commands.add_parser("colab", help="set the repository's address")
    command.add_argument("repository", metavar="OWNER/NAME")
    arguments = parser.parse_args()

    every = sorted((ROOT / "book").glob("*.ipynb"))
    # The stored outputs are those of the book's own seeds.
    os.environ.pop("BOOK_SEED", None)
    if arguments.command == "run":
        return run(arguments.notebooks or every)
    if arguments.command == "seeds":
        apart = sorted([0, *arguments.firsts])
        if any(after - before < 1000 for before, after in zip(apart, apart[1:])):
            sys.exit(
                "Seeds must be at least 1000 apart, and 1000 or more: an experiment uses many seeds in a row."
            )
        return seeds(every, arguments.firsts)
    if arguments.command == "colab":
        if not re.fullmatch(
            r"[A-Za-z0-9-]+/(?!\.+$)[\w.-]+(?<!\.git)", arguments.repository
        ):
            sys.exit(
                f"The address must read OWNER/NAME, as in `make colab REPO=owner/name`, and {arguments.repository!r} does not."
            )
        return set_repository(arguments.repository, every)
    changed = [
        path
        for path in arguments.notebooks or every
        if normal_form(path) != path.read_text("utf-8")
    ]
    for path in changed:
        print(
            f"{path.name}: {'is not in its normal form' if arguments.check else 'normalised'}"
        )
        if not arguments.check:
            write(path, normal_form(path))
    return arguments.check and len(changed)


if __name__ == "__main__":
    sys.exit(main())
