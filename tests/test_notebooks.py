"""What must hold for every notebook of the book, as it is stored.

`make test` also runs them again: see tools/kernels.py. tests/test_sabotage.py breaks
what is checked here.
"""

import ast
import math
import re
import statistics

import nbformat
import pytest

import editions
import notebooks
from cells import caption_of, code, draws, tags
from kernels import execute, only_exercises
from typed_numbers import MARKDOWN, typed_numbers

PATHS = sorted((notebooks.ROOT / "book").glob("*.ipynb"))
HEADINGS = ["Where it goes wrong", "What we measured"]
# What a reader can take: see "Write short" in CONTRIBUTING.md.
MOST_WORDS, MOST_IN_ANSWER, MOST_MINUTES = 2400, 90, 30
MOST_LINES = {"median": 6, "nine in ten": 12, "longest": 20}
WIDEST, WIDEST_HIDDEN = 88, 100  # characters
MOST_DRAWING = 10  # lines
# One word per thing: what would be said instead, and the book's word.
OTHER_WORDS = {
    r"cuts?|cutting|cut-?offs?": "threshold",
    r"one-of-these loss": "marginal loss",
    r"logit-wise accuracy|element-?wise accuracy": "per-logit accuracy",
}
MACHINE_PATH = re.compile(
    r"(?<![\w.:/-])/(?:home|root|Users|usr|opt|tmp|var|mnt|private)/|[A-Z]:\\|(?:site|dist)-packages|ipykernel_\d|\.venv"
)
# Objects that draw numbers; without an argument, others in every run.
GENERATORS = ("default_rng", "RandomState", "Random", "SeedSequence", "Generator")
NEVER_THE_SAME = ("urandom", "SystemRandom", "uuid4", "uuid1", "token_hex")


@pytest.fixture(params=PATHS, ids=lambda path: path.name)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def markdown(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def claims(notebook):
    return [
        output.metadata["claim"]
        for output in outputs(notebook)
        if "claim" in output.get("metadata", {})
    ]


def hidden(cell):
    return "hide-input" in tags(cell) or "hide-cell" in tags(cell)


def figures(notebook):
    return [cell for cell in code(notebook) if draws(cell)]


def exercises(notebook):
    return [
        cell
        for cell in code(notebook)
        if re.search(r"^answer_\d+ = ", cell.source, re.M)
    ]


def output_texts(notebook):
    texts = [output.get("text", "") for output in outputs(notebook)]
    return texts + [
        text
        for output in outputs(notebook)
        for kind, text in output.get("data", {}).items()
        if kind in ("text/plain", "text/markdown")
    ]


def test_normal_form(path):
    assert path.read_text("utf-8") == notebooks.normal_form(path), (
        f"try `python tools/notebooks.py normalise {path.name}`"
    )


def test_run_in_order(notebook):
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1)), (
        f"not run from top to bottom: {counts}. Try `make notebooks`"
    )


def test_ids(notebook):
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for name in ids:
        assert re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name), name
        assert not re.fullmatch(r"[0-9a-f]{8}(-.*)?", name), (
            f"{name} was made by chance: give it a name"
        )


def test_outputs_are_clean(notebook):
    for cell in code(notebook):
        for output in cell.outputs:
            assert output.output_type != "error" and output.get("name") != "stderr", (
                cell.id,
                output,
            )


def test_no_machine_path(notebook):
    texts = [cell.source for cell in notebook.cells] + output_texts(notebook)
    texts += [
        text
        for output in outputs(notebook)
        for kind, text in output.get("data", {}).items()
        if kind == "text/html"
    ]
    for text in texts:
        assert not MACHINE_PATH.search(text) and str(notebooks.ROOT) not in text, text


def test_bootstrap(notebook):
    first = code(notebook)[0]
    assert first.id == "bootstrap"
    assert (
        first.source.replace(f'REPO = "{notebooks.repository()}"', 'REPO = ""')
        == notebooks.BOOTSTRAP
    )
    assert first.outputs == []
    assert "hide-input" in tags(first)


def test_hidden_cells_are_hidden_everywhere(notebook):
    """Tags hide a cell in the book; elsewhere the metadata and the first line do."""
    expected = [cell.id for cell in code(notebook) if hidden(cell)]
    assert [
        cell.id for cell in code(notebook) if cell.metadata.get("cellView") == "form"
    ] == expected
    assert [
        cell.id
        for cell in code(notebook)
        if cell.metadata.get("jupyter") == {"source_hidden": True}
    ] == expected
    assert [
        cell.id for cell in code(notebook) if cell.source.startswith("# @title ")
    ] == expected


def test_figures(notebook):
    assert len(figures(notebook)) >= 4
    for cell in figures(notebook):
        assert (
            len(
                [
                    output
                    for output in cell.outputs
                    if "image/png" in output.get("data", {})
                ]
            )
            == 1
        ), cell.id
        settings = cell.metadata.get("mystnb", {})
        caption = caption_of(notebook, cell)
        alt = settings.get("image", {}).get("alt", "")
        assert caption.strip(), f"{cell.id} has no caption"
        assert len(alt) >= 40 and alt.strip().endswith("."), (
            f"{cell.id}: say in a sentence what is seen, not {alt!r}"
        )
        assert alt != caption, cell.id
        assert settings["figure"].get("name", "").startswith("fig-"), (
            f"{cell.id} has no name that starts with fig-"
        )
        [shown] = [o for o in cell.outputs if "image/png" in o.get("data", {})]
        told = shown.metadata["image/png"]
        assert told["alt"] == alt, cell.id
        assert 300 < told["width"] < 750 and "height" in told, cell.id
    captions = [cell for cell in markdown(notebook) if "caption" in tags(cell)]
    assert len(captions) == len(figures(notebook))
    assert all(cell.source.startswith("**Figure.** ") for cell in captions)


def test_names_are_used_once_in_the_book():
    books = [nbformat.read(path, as_version=4) for path in PATHS]
    names = [
        cell.metadata["mystnb"]["figure"]["name"]
        for book in books
        for cell in figures(book)
    ]
    assert len(set(names)) == len(names), names
    statements = [claim["statement"] for book in books for claim in claims(book)]
    assert len(set(statements)) == len(statements), statements


def test_claims(notebook):
    for output in outputs(notebook):
        if claimed := output.get("metadata", {}).get("claim"):
            said = f"**{claimed['statement']}.**\n\n{claimed['evidence']}."
            for kind in ("text/plain", "text/markdown"):
                assert output.data[kind] == said, (
                    "the metadata says another claim than the text: `make notebooks`"
                )
            strong = MARKDOWN.renderInline(f"**{claimed['statement']}.**")
            assert strong.startswith("<strong>") and strong.endswith("</strong>"), (
                "a star in a statement ends its bold type: write $w^*$"
            )
    assert len(claims(notebook)) >= 5
    for cell in code(notebook):
        claimed = any("claim" in output.get("metadata", {}) for output in cell.outputs)
        assert claimed == ("claim" in tags(cell)), cell.id
        for call in ast.walk(ast.parse(cell.source)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "claim":
                assert not isinstance(call.args[1], ast.Constant), (
                    f"{cell.id}: a condition must be measured"
                )
        assert not claimed or "hide-input" in tags(cell), cell.id


def test_anatomy(notebook):
    opening = notebook.cells[0].source
    assert opening.startswith("# ") and "?" in opening, (
        "a chapter opens with its title and a question"
    )
    before = "\n\n".join(
        cell.source
        for cell in notebook.cells[: notebook.cells.index(code(notebook)[0])]
    )
    assert "short answer" in before.lower()
    header = next(
        paragraph
        for paragraph in before.split("\n\n")
        if editions.LINK.search(paragraph)
    )
    assert re.search(r"\b\d+ minutes?\b", header), f"how many minutes to read? {header}"
    assert re.search(r"\b\d+ (s|seconds?)\b", header), (
        f"how many whole seconds to run? {header}"
    )
    assert re.search(r"\b(know|need|before|prerequisites?)\b", header, re.I), (
        f"what must a reader know first? {header}"
    )
    tokens = [MARKDOWN.parse(cell.source) for cell in markdown(notebook)]
    titles = [
        (part[i].tag, part[i + 1].content)
        for part in tokens
        for i, token in enumerate(part)
        if token.type == "heading_open"
    ]
    assert [tag for tag, _ in titles].count("h1") == 1
    assert [title for tag, title in titles if tag == "h2"][-2:] == HEADINGS


def test_short(notebook):
    texts = [cell.source for cell in markdown(notebook) if "caption" not in tags(cell)]
    words = sum(len(text.split()) for text in texts)
    assert words <= MOST_WORDS
    [answer] = re.findall(
        r"(?s)\*\*The short answer\.\*\*\s(.*?)\n\n", texts[0] + "\n\n"
    )
    assert len(answer.split()) <= MOST_IN_ANSWER
    shown = sum(lines_of(cell) for cell in code(notebook) if not hidden(cell))
    minutes = words / 150 + shown / 12 + len(figures(notebook)) / 3
    stated = int(re.search(r"(\d+) minutes", "\n".join(texts))[1])
    assert stated == 5 * math.ceil(minutes / 5) <= MOST_MINUTES, minutes


def fenced(cell):
    """The lines of the code blocks in a Markdown cell."""
    blocks = MARKDOWN.parse(cell.source)
    texts = [b.content for b in blocks if b.type in ("fence", "code_block")]
    return "\n".join(texts).splitlines()


def lines_of(cell):
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def test_short_cells(notebook):
    exercise = re.compile(r"^answer_\d+ = ", re.M)
    shown = [
        cell
        for cell in code(notebook)
        if not hidden(cell) and not exercise.search(cell.source)
    ]
    lengths = sorted(map(lines_of, shown))
    found = {
        "median": statistics.median(lengths),
        "nine in ten": lengths[math.ceil(0.9 * len(lengths)) - 1],
        "longest": lengths[-1],
    }
    assert all(found[name] <= most for name, most in MOST_LINES.items()), found
    wide = [
        (cell.id, line)
        for cell in code(notebook)[1:]
        for line in cell.source.splitlines()
        if len(line) > (WIDEST_HIDDEN if hidden(cell) else WIDEST)
    ]
    fences = [(cell.id, line) for cell in markdown(notebook) for line in fenced(cell)]
    wide += [(name, line) for name, line in fences if len(line) > WIDEST]
    assert wide == []
    drawing = {
        cell.id: len(
            [
                line
                for line in cell.source.splitlines()
                if line.strip() and not re.match(r"\s*(#|import |from )", line)
            ]
        )
        for cell in figures(notebook)
    }
    assert max(drawing.values()) <= MOST_DRAWING, drawing


SENTENCE_ENDS = re.compile(
    r"(?<!\be\.g)(?<!\bi\.e)(?<!\bal)[.?!][\"*_)”]*\s+[\"“*_(]*[A-Z]"
)


def test_a_sentence_a_line(notebook):
    """So that a diff shows the sentence that changed."""
    found = [
        (cell.id, line)
        for cell in markdown(notebook)
        for line in cell.source.splitlines()
        if several_sentences(line)
    ]
    assert found == []


def several_sentences(line):
    if line.startswith(("|", "#")):
        return False
    line = re.sub(r"^\s*(\d+\.|[*-]) ", "", line)
    line = re.sub(r"^\*\*[^*]+\*\* ", "", line)  # a name before the sentence
    line = re.sub(r"`[^`]*`|\$[^$]*\$|\]\([^)]*\)", "x", line)
    return SENTENCE_ENDS.search(line) is not None


@pytest.mark.parametrize(
    "line, several",
    [
        ("One sentence. Another one.", True),
        ("Is it? *Yes.*", True),
        ("A sentence (with one inside. And more).", True),
        ("One sentence with `code. Code` and $x. Y$.", False),
        ("**Your turn 1.** Which one?", False),
        ("1. A point.", False),
        ("| a cell. Another. |", False),
        ("# Which loss, and how many? All", False),
        ("See Cour et al. Or not", False),
    ],
)
def test_several_sentences(line, several):
    assert several_sentences(line) == several


def test_one_word_per_thing(notebook):
    texts = [cell.source for cell in markdown(notebook)] + output_texts(notebook)
    texts += [str(cell.metadata["mystnb"]) for cell in figures(notebook)]
    found = [
        (match[0], f"say {instead}")
        for text in texts
        for word, instead in OTHER_WORDS.items()
        for match in re.finditer(rf"\b({word})\b", text, re.I)
    ]
    assert found == []


def test_exercises(notebook):
    count = len(exercises(notebook))
    assert 3 <= count <= 5
    sources = {cell.id: cell for cell in code(notebook)}
    solutions = [cell for cell in sources.values() if "solution" in tags(cell)]
    assert len(solutions) == count
    for number, (answer, solution) in enumerate(zip(exercises(notebook), solutions), 1):
        check = next(
            cell
            for cell in sources.values()
            if f"check_{number} = Exercise(" in cell.source
        )
        assert f"answer_{number} = ..." in answer.source and answer.outputs == [], (
            answer.id
        )
        assert (
            f"check_{number}(answer_{number})" in check.source
            and "hide-input" in tags(check)
        ), check.id
        assert said(check) == f"Your turn {number}: not answered yet.\n", check.id
        assert (
            f"solution_{number} =" in solution.source
            or f"def solution_{number}(" in solution.source
        ), solution.id
        assert solution.source.endswith(
            f"check_{number}(solution_{number})"
        ) and "hide-cell" in tags(solution), solution.id
        # Colab and GitHub show the output of a hidden cell: it must not give the
        # answer away.
        assert said(solution) == f"Your turn {number}: right.\n", solution.id


def test_exercises_run_after_the_setup_cell_alone(path, notebook):
    alone = only_exercises(notebook)
    assert execute(alone, path.parent) is None
    solutions = [cell for cell in code(alone) if "solution" in tags(cell)]
    assert len(solutions) == len(exercises(notebook))
    for cell in solutions:
        assert said(cell).endswith(": right.\n"), cell.id


def test_exercises_stand_after_their_section(notebook):
    titles = [
        cell.source.startswith("**Your turn")
        for cell in markdown(notebook)
        if cell.source.startswith(("## ", "**Your turn"))
    ]
    # Each follows the text of a section, before the last one.
    assert not titles[0] and not titles[-1]
    assert sum(titles) == len(exercises(notebook))


def said(cell):
    assert [output.get("name") for output in cell.outputs] == ["stdout"], cell.id
    return cell.outputs[0].text


def test_no_typed_number(notebook):
    # The header states minutes and seconds: tests/bench.py measures those.
    texts = {
        cell.id: re.sub(rf"(?m)^.*{editions.LINK.pattern}.*$", "", cell.source)
        for cell in markdown(notebook)
    }
    for cell in figures(notebook):
        settings = cell.metadata["mystnb"]
        texts[f"alt text of {cell.id}"] = settings["image"]["alt"]
    shown = [cell.source for cell in code(notebook) if not hidden(cell)]
    found = {
        name: typed_numbers(text, output_texts(notebook), shown)
        for name, text in texts.items()
    }
    assert {name: typed for name, typed in found.items() if typed} == {}, (
        "these numbers stand in no output: let a cell print them, or link their source"
    )


def test_chance_is_seeded(notebook):
    found = {cell.id: unseeded(cell.source) for cell in code(notebook)}
    assert {name: calls for name, calls in found.items() if calls} == {}, (
        "these draw other numbers in every run: give them a seed of book_seeds"
    )


def unseeded(source):
    """The calls that make a generator without a seed, or draw from no generator.

    Draws from the generators that a kernel shares are noticed as it runs: see
    WATCH in tools/kernels.py.
    """
    found = []
    tree = ast.parse(source)
    seeded = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "manual_seed"
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node not in seeded:
            name = ast.unparse(node.func).rsplit(".")[-1]
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            nothing = not given or ast.unparse(given[0]) == "None"
            if name in GENERATORS and nothing or name in NEVER_THE_SAME:
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "source",
    [
        "np.random.default_rng()",
        "np.random.default_rng(None)",
        "numpy.random.default_rng(seed=None)",
        "draw = Random()",
        "random.Random().random()",
        "torch.Generator()",
        "torch.rand(2, generator=torch.Generator())",
        "np.random.Generator(np.random.PCG64(np.random.SeedSequence()))",
        "def f():\n    return RandomState()",
        "uuid.uuid4()",
        "os.urandom(4)",
    ],
)
def test_unseeded(source):
    assert len(unseeded(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "np.random.default_rng(0)",
        "np.random.default_rng(seed)",
        "Random(seed)",
        "torch.Generator().manual_seed(0)",
        "torch.Generator('cpu').manual_seed(0)",
        "random.random((3, 2))",
        "RandomState",
    ],
)
def test_seeded(source):
    assert unseeded(source) == []


def test_plain_markdown(notebook):
    for cell in markdown(notebook):
        assert not not_plain(cell.source), cell.id


def not_plain(source):
    """What only some of the places that show a notebook would understand."""
    found = ["{{"] if "{{" in source else []
    for block in MARKDOWN.parse(source):
        children = block.children or []
        texts = [child.content for child in children if child.type == "text"]
        if block.type == "html_block" or any(
            child.type == "html_inline" for child in children
        ):
            found.append("HTML")
        if block.type == "fence" and block.info.startswith("{"):
            found.append("a directive")
        if block.type == "inline" and re.match(
            r":::|%|\+\+\+|\([\w-]+\)=$", block.content
        ):
            found.append(f"MyST: {block.content}")
        if any(
            re.search(r"\{[\w:-]+\}$", child.content) and after.type == "code_inline"
            for child, after in zip(children, children[1:])
        ):
            found.append("a role")
        if any("$" in text for text in texts):
            found.append("a dollar sign that opens no formula")
    return found


@pytest.mark.parametrize(
    "source",
    [
        ":::{note}\nA note.\n:::",
        "```{note}\nA note.\n```",
        "{doc}`setups`",
        "It has {{ count }} labels.",
        "It costs $5.",
        r"It costs \$5.",
        "From $5 to $10.",
        "$x + 1",
        "<b>bold</b>",
        "<div>\n</div>",
        "(target)=\n# Title",
        "% a comment",
        "+++",
        "$ x $",
    ],
)
def test_not_plain(source):
    assert not_plain(source)


@pytest.mark.parametrize(
    "source",
    [
        "# Title\n\nText with $x_1$, `{}`, and $$y = \\frac{1}{K}$$.",
        "| a | b |\n| --- | --- |\n| $K$ | `x` |",
        "```python\nf'{x}'\n```",
        "The set {1, 2} and `code`.",
        "$K$-way, $K$.",
        "$2K$, or $K/2$",
    ],
)
def test_plain(source):
    assert not not_plain(source)
