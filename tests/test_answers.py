"""Exercises that answer in the page and in a student's notebook, without the answers.

What `Exercise` says in the book's notebook, `Sealed` says in a student's, and the form
in the page: of every answer, by keyboard alone, and without a request."""

import ast
import html
import itertools
import random
import re
import subprocess
import sys

import nbformat
import pytest

import answers
import test_pages
from helpers.exercises import Exercise, Sealed
from toc import NOTEBOOKS, ROOT

address, browser = test_pages.address, test_pages.browser  # the fixtures


def read(name):
    return nbformat.read(ROOT / f"{name}.ipynb", as_version=4)


TASKS = {
    f"{name}, {task.number}": task
    for name in NOTEBOOKS
    for task in answers.exercises_of(read(name))
}
IN_PAGE = {name: task for name, task in TASKS.items() if task.exercise.of is None}


def seal(name):
    chapter, _, number = name.partition(", ")
    return TASKS[name].exercise.sealed(chapter, TASKS[name].reason)


def typed(task, value):
    """What a reader types into the field for this value."""
    return str(list(value)) if isinstance(value, list | tuple) else str(value)


def slips(task):
    """Every answer of letters that differs from the right one in a single letter."""
    right, each = task.exercise.right, task.exercise.each
    known = {letter for hints in each if isinstance(hints, dict) for letter in hints}
    for number in range(len(each)):
        for letter in sorted(known | set(right) | {"?"}):
            if letter != right[number]:
                yield right[:number] + letter + right[number + 1 :]


def wrong_answers(task):
    return [*(wrong for wrong, _ in task.exercise.hints), *slips(task)]


def many_answers(task, count=300):
    """Values of the right kind and of others, some of them close to the right one."""
    draw, right = random.Random(7), task.exercise.right
    if isinstance(right, str):
        letters = "".join(sorted(set(right))) + "AX?"
        alike = itertools.product(letters, repeat=len(right))
        few = list(itertools.islice(map("".join, alike), 5000))
        words = ["".join(draw.choices(letters + " ,;é", k=k % 9)) for k in range(50)]
        return [*draw.sample(few, min(len(few), count)), *words]
    steps = [-3, -1.01, -0.99, 0, 0, 0, 0.5, 0.99, 1.01]
    hints = [wrong for wrong, _ in task.exercise.hints]
    if not isinstance(right, list | tuple):
        tolerance = max(task.exercise.tolerance, 1)
        return [n + step * tolerance for n in (right, *hints) for step in steps]
    found = []
    for _ in range(count):
        value = list(draw.choice([right, *hints]))
        value = [v + draw.choice(steps) * task.exercise.tolerance for v in value]
        found.append(value[: draw.choice([1, 2, 3, 3, 3])])
    return found


@pytest.mark.parametrize("name", TASKS)
def test_sealed_says_what_the_exercise_says(name):
    task = TASKS[name]
    if task.exercise.of is not None:
        values = [wrong for wrong, _ in task.exercise.hints]
        values += [lambda fine, coarse: 3, lambda fine, coarse: [True], abs, 3]
        right = answers_of_code(task)
    else:
        values, right = many_answers(task) + wrong_answers(task), task.exercise.right
    check = Sealed("Your turn", seal(name), task.exercise.of)
    assert check.verdict(right) == f"right. {task.reason}"
    said = [task.exercise.verdict(value) for value in values]
    expected = [f"right. {task.reason}" if s == "right." else s for s in said]
    assert [check.verdict(value) for value in values] == expected
    for _, hint in task.exercise.hints:
        assert f"not yet. {hint}" in said


def answers_of_code(task):
    names = {}
    exec(task.source, names)
    return names[f"solution_{task.number}"]


def test_letters_of_short_answers_one_by_one():
    """All combinations, where there are at most 5000."""
    for name, task in IN_PAGE.items():
        if not task.exercise.each:
            continue
        check = Sealed("Your turn", seal(name))
        letters = sorted({letter for slip in slips(task) for letter in slip})
        if len(letters) ** len(task.exercise.right) > 5000:
            continue
        for combination in itertools.product(letters, repeat=len(task.exercise.right)):
            answer = "".join(combination)
            if answer != task.exercise.right:
                assert check.verdict(answer) == task.exercise.verdict(answer)


@pytest.mark.parametrize("missing", ["numpy", "torch"])
def test_the_book_is_built_without_the_packages_of_its_notebooks(missing):
    code = f"""
import sys
sys.modules[{missing!r}] = None
sys.path.insert(0, "tools")
import nbformat, answers
for name in {NOTEBOOKS}:
    answers.in_page(nbformat.read(name + ".ipynb", as_version=4), name)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert ended.returncode == 0, ended.stderr


def secrets(task):
    """What must not be read: hints, reason, and the answer as it is written."""
    found = [hint for _, hint in task.exercise.hints] + [task.reason]
    for hint in task.exercise.each:
        found += [hint] if isinstance(hint, str) else hint.values()
    if isinstance(task.exercise.right, str):
        found += [f'"{task.exercise.right}"', task.source.partition(" = ")[2]]
    else:
        found.append(task.source)
    return found


@pytest.mark.parametrize("name", TASKS)
def test_a_student_s_check(name, capsys):
    task = TASKS[name]
    source = answers.sealed_check(task, name.partition(",")[0])
    for secret in secrets(task):
        assert secret not in source
    assert max(map(len, source.splitlines())) <= 88 and len(source) <= 3000
    ast.parse(source)
    if task.exercise.of is None:
        right = task.exercise.right
    else:
        right = answers_of_code(task)
    wrong, hint = next(
        (wrong, task.exercise.verdict(wrong))
        for wrong in [*(wrong for wrong, _ in task.exercise.hints), *slips(task)]
    )
    for answer in (..., right, wrong):
        exec(source, {f"answer_{task.number}": answer})
    assert capsys.readouterr().out.splitlines() == [
        f"Your turn {task.number}: {said}"
        for said in ("not answered yet.", f"right. {task.reason}", hint)
    ]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_only_the_cells_of_exercises_change(name):
    before, after = read(name), read(name)
    answers.in_page(after, name)
    again = read(name)
    answers.in_page(again, name)
    assert after == again
    nbformat.validate(after)
    ids, new = [cell.id for cell in before.cells], {}
    for task in answers.exercises_of(before):
        own = {task.answer.id, task.check.id, task.solution.id}
        left = [cell for cell in after.cells if cell.id in own]
        form = left[-1]
        assert form.cell_type == "markdown" and "\n\n" not in form.source
        if task.exercise.of is None:
            assert left == [form] and form.id == task.answer.id
        else:
            assert left[:-1] == [task.answer]
        new |= {cell.id: None for cell in left}
        for id in own - set(new):
            ids.remove(id)
    assert [cell.id for cell in after.cells] == ids
    kept = [cell for cell in after.cells if cell.id not in new]
    assert kept == [cell for cell in before.cells if cell in kept]


def test_a_solution_is_taken_apart():
    assert answers.taken_apart(
        "# @title Solution\n# One,\n# two.\n\nx = 1\n\n\ncheck_1(solution_1)"
    ) == ("One, two.", "x = 1")


# The built pages


def test_no_answer_stands_in_the_built_pages(site):
    pages = [html.unescape(path.read_text("utf-8")) for path in site.rglob("*.html")]
    plain = "\n".join(re.sub(r"<[^>]*>", "", page) for page in pages)
    index = (site / "searchindex.js").read_text("utf-8")
    assert "Before you run anything: one input has" in plain  # a question is there
    assert '"probabl"' in index or '"probabilities"' in index  # and so are its words
    for name, task in TASKS.items():
        for secret in secrets(task):
            assert secret not in plain, (name, secret)
        if isinstance(task.exercise.right, str) and len(task.exercise.right) > 3:
            assert f'"{task.exercise.right.lower()}"' not in index
    assert not (site / "_sources").exists()


@pytest.fixture(scope="module", params=NOTEBOOKS)
def page(request, browser, address):
    visit = test_pages.Visit(browser, address)
    visit.name = request.param
    visit.open(f"{address}{visit.name}.html")
    visit.loaded = len(visit.responses)
    yield visit
    visit.context.close()


def tasks_in(page):
    return {
        name: task
        for name, task in IN_PAGE.items()
        if name.startswith(f"{page.name}, ")
    }


def press_until(tab, selector):
    for _ in range(500):
        tab.keyboard.press("Tab")
        if tab.evaluate(
            "selector => document.activeElement.matches(selector)", selector
        ):
            return
    raise AssertionError(f"the tab key does not reach {selector}")


SAY = """([selector, texts]) => {
    const exercise = document.querySelector(selector);
    const [field, output] = exercise.querySelectorAll("input, output");
    return texts.map(text => {
        field.value = text;
        field.form.requestSubmit();
        return output.textContent;
    });
}"""


def say(tab, selector, texts):
    """What is said of each text, without the keyboard: many in a moment."""
    return tab.evaluate(SAY, [selector, texts])


def said_of(tab, text):
    """Type into the field that has the focus: what is said below it."""
    tab.keyboard.press("Control+A")
    tab.keyboard.press("Delete")
    tab.keyboard.type(text)
    tab.keyboard.press("Enter")
    return tab.evaluate(
        "document.activeElement.form.querySelector('output').textContent"
    )


def test_answers_by_keyboard_alone(page):
    tab = page.tab
    for name, task in tasks_in(page).items():
        exercise, form = task.exercise, f"#answer-{task.number}"
        press_until(tab, f"{form} input")
        assert said_of(tab, "") == said_of(tab, "  ") == "not answered yet."
        right = typed(task, exercise.right)
        assert said_of(tab, right) == f"right. {task.reason}"
        assert tab.get_attribute(f"{form} output", "data-state") == "right"
        wrongs = {
            typed(task, wrong): exercise.verdict(wrong) for wrong in wrong_answers(task)
        }
        assert all(said.startswith("not yet. ") for said in wrongs.values())
        for wrong in list(wrongs)[:3]:
            assert said_of(tab, wrong) == wrongs[wrong]
        assert say(tab, form, list(wrongs)) == list(wrongs.values()), name
        tab.keyboard.press("Backspace")
        assert tab.text_content(f"{form} output") == ""  # it spoke of another answer
        press_until(tab, f"{form} [aria-expanded]")
        solution = f"{form}-solution"
        assert tab.inner_html(solution) == ""
        tab.keyboard.press("Space")
        assert tab.is_visible(solution)
        shown = tab.text_content(solution)
        answer = task.source.partition(" = ")[2].strip('"')
        assert task.reason in shown and answer in shown
        assert tab.get_attribute(f"{form} [aria-expanded]", "aria-expanded") == "true"
        tab.keyboard.press("Enter")
        assert not tab.is_visible(solution)


def test_code_shows_its_solution_and_has_no_field(page):
    codes = [
        task
        for name, task in TASKS.items()
        if name.startswith(f"{page.name}, ") and name not in IN_PAGE
    ]
    for task in codes:
        place = page.tab.locator(f"#answer-{task.number}")
        assert place.locator("input").count() == 0
        assert "asks for code. Write it in the notebook" in place.inner_text()
        place.locator("button").press("Enter")
        shown = place.locator("[id$=-solution]").text_content()
        assert task.reason in shown and task.source in shown
        place.locator("button").press("Enter")


def test_the_page_says_what_the_notebook_says(page):
    for name, task in tasks_in(page).items():
        check = Sealed("Your turn", seal(name))
        values = many_answers(task)
        texts = [typed(task, value) for value in values]
        expected = [
            check.verdict(value) if text.strip() else "not answered yet."
            for text, value in zip(texts, values)
        ]
        assert say(page.tab, f"#answer-{task.number}", texts) == expected


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_forms_keep_the_rules_of_accessibility(page, scheme):
    tab = page.tab
    page.switch(scheme)
    for name, task in tasks_in(page).items():
        texts = [typed(task, task.exercise.right), "?"][task.number % 2 :]
        say(tab, f"#answer-{task.number}", texts)
    tab.evaluate("""document.querySelectorAll(".exercise [aria-expanded=false]")
        .forEach(button => button.click())""")
    tab.evaluate("document.getAnimations().forEach(a => a.finish())")
    if not tab.evaluate("!!window.axe"):
        tab.evaluate(test_pages.AXE)
    found = tab.evaluate("""async () => {
        const {violations, passes} = await axe.run(
            {include: [".exercise"]}, {preload: false});
        return [violations.map(v => [v.id, v.nodes.map(n => n.failureSummary)]),
            passes.map(pass => pass.id)];
    }""")
    colours = test_pages.palette(tab)
    tab.evaluate("""document.querySelectorAll(".exercise [aria-expanded=true]")
        .forEach(button => button.click())""")
    page.switch("light")
    assert found[0] == []
    assert {"color-contrast", "label"} <= set(found[1])
    assert test_pages.faint(colours) == []


def test_the_forms_fit_a_phone(page):
    tab = page.tab
    tab.set_viewport_size({"width": 375, "height": 812})
    click = """document.querySelectorAll(".exercise [aria-expanded]")
        .forEach(button => button.click())"""
    tab.evaluate(click)
    width, unreached, small = tab.evaluate("""[
        document.scrollingElement.scrollWidth,
        [...document.querySelectorAll(".exercise pre")]
            .filter(e => e.scrollWidth > e.clientWidth && e.tabIndex).length,
        [...document.querySelectorAll(".exercise :is(input, button)")]
            .filter(e => e.getBoundingClientRect().height < 32
                || parseFloat(getComputedStyle(e).fontSize) < 16).length,
    ]""")
    tab.evaluate(click)
    tab.set_viewport_size({"width": 1280, "height": 900})
    assert width <= 375
    assert unreached == 0  # the keyboard must reach what scrolls
    assert small == 0  # a smaller field makes a phone zoom in


def test_a_form_prints_as_a_line(page):
    tab = page.tab
    for task in tasks_in(page).values():
        say(tab, f"#answer-{task.number}", ["?"])
    tab.evaluate("""document.querySelectorAll(".exercise [aria-expanded]")
        .forEach(button => button.click())""")
    tab.emulate_media(media="print")
    seen = tab.evaluate("""[...document.querySelectorAll(".exercise *")]
        .filter(e => e.checkVisibility() && e.clientHeight).map(e => e.localName)""")
    tab.emulate_media(media="screen")
    tab.evaluate("""document.querySelectorAll(".exercise [aria-expanded]")
        .forEach(button => button.click())""")
    assert set(seen) <= {"label", "span", "input", "p"}
    assert seen.count("input") == len(tasks_in(page))


def test_nothing_is_asked_sent_or_remembered(page):
    """After what the tests above did."""
    assert page.errors == [] and page.elsewhere == []
    later = [response.url for response in page.responses[page.loaded :]]
    assert [url for url in later if not url.endswith("favicon.svg")] == []
    kept = page.tab.evaluate("[JSON.stringify({...localStorage}), document.cookie]")
    assert not re.search("answer|turn", kept[0]) and kept[1] == ""
    assert page.context.cookies() == []


def test_without_scripts_a_sentence_stands_there(browser, address):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(f"{address}{NOTEBOOKS[0]}.html")
    text, fields = (
        tab.locator("#answer-1").inner_text(),
        tab.locator("#answer-1 input").is_visible(),
    )
    context.close()
    assert "this page needs JavaScript" in text and not fields


# Answers of any kind, in a page of their own


@pytest.fixture(scope="module")
def blank(browser):
    """Says of texts what a page with this exercise says."""
    tab = browser.new_page()
    script = (ROOT / "book/_static/exercises.js").read_text("utf-8")

    def said(exercise, texts):
        task = answers.Task(1, None, None, None, exercise, "So it is.", 'x = "1"', "")
        form = answers.html_of(task, "a chapter")
        tab.set_content(f"<!doctype html><script>{script}</script>{form}")
        return say(tab, "#answer-1", texts)

    yield said
    tab.close()


NUMBER = Exercise(
    "Your turn 1",
    right=0.25,
    tolerance=0.01,
    hints=[(0.75, "The rest."), (25, "A percentage."), ([1, 4], "Divide.")],
)
TABLE = Exercise("Your turn 1", right=[[1, 0.5], [0, -2]], hints=[([1, 2], "Rows.")])
BIG = Exercise("Your turn 1", right=[1e12, 2**40], hints=[([1, 2], "More.")])
FLAG = Exercise("Your turn 1", right=True, hints=[(False, "Look again.")])
WORD = Exercise("Your turn 1", right="two words", hints=[("words", "How many?")])
WORDS = Exercise("Your turn 1", right=["cat", "dog"], hints=[(["dog", "cat"], "Turn.")])
POINT = "Write decimals with a point, as 0.25"
PLAIN = "Write numbers as 0.25 or 1/4, and commas between them."


@pytest.mark.parametrize(
    "exercise, value, texts",
    [
        (NUMBER, 0.25, ["0.25", " .25 ", "1/4", "1 / 4", "+0.25", "2.5e-1", "0.5/2"]),
        (NUMBER, 0.26, ["0.26", "13/50"]),
        (NUMBER, -0.25, ["-0.25", "\u22120.25", "-1/4"]),
        (NUMBER, 25, ["25", "25."]),
        (NUMBER, 0.75, ["75/100"]),
        (NUMBER, 1e300, ["1e300", "1E300"]),
        (NUMBER, [1, 4], ["1 4", "1, 4", "[1 4]", "(1; 4)"]),
        (NUMBER, [0.25], ["[0.25]", "0.25,"]),
        (NUMBER, [], ["[]"]),
        (NUMBER, True, ["True", "true"]),
        (TABLE, [[1, 0.5], [0, -2]], ["[[1, .5], [0, -2]]", "(1 1/2) (0 -2)"]),
        (TABLE, [[True, 0.5], [False, -2]], ["[[True, 0.5], [False, -2]]"]),
        (TABLE, [1, 2], ["1, 2", "1,2", "[1,2]"]),
        (TABLE, [1, [2]], ["1, [2]"]),
        (TABLE, [[1], [1, 2]], ["[[1], [1, 2]]"]),
        (TABLE, [[], []], ["[[], []]"]),
        (BIG, [1e12, 2**40], ["1e12 1099511627776"]),
        (BIG, [1e12 + 0.5, 2**40 + 1], ["1000000000000.5, 1099511627777"]),
        (BIG, [1e12 + 2, 2**40], ["1000000000002, 1099511627776"]),
        (BIG, [1e300, 1], ["1e300, 1"]),
        (FLAG, True, ["True", "true", "yes", "YES "]),
        (FLAG, False, ["False", "no"]),
        (FLAG, 1, ["1"]),
        (WORD, "two words", ["two words ", ' "two words"', "'two words' "]),
        (WORD, "Two words", ["Two words"]),
        (WORD, "words", ["words"]),
        (WORDS, ["cat", "dog"], ["cat dog", "cat, dog", '["cat", "dog"]']),
        (WORDS, ["dog", "cat"], ["dog;cat"]),
        (WORDS, "cat", ["cat"]),
    ],
)
def test_a_typed_text_is_read_as_its_value(blank, exercise, value, texts):
    check = Sealed("Your turn 1", exercise.sealed(reason="So it is."))
    assert blank(exercise, texts) == [check.verdict(value)] * len(texts)


@pytest.mark.parametrize(
    "exercise, text, sentence",
    [
        (NUMBER, "25 %", "Write plain numbers, without a percent sign."),
        (NUMBER, "0,25", f"{POINT}."),
        (NUMBER, "a quarter", PLAIN),
        (NUMBER, "1/0", PLAIN),
        (NUMBER, "1/4/2", PLAIN),
        (NUMBER, "2*3", PLAIN),
        (TABLE, "0,33; 0,33", f"{POINT}, and a space after each comma."),
        (TABLE, "[1, 2", "A bracket is not closed."),
        (TABLE, "1, 2]", "A bracket is closed that was not opened."),
        (FLAG, "perhaps", "Write True or False."),
        (WORD, "   ", "not answered yet."),
    ],
)
def test_what_cannot_be_read_gets_a_sentence(blank, exercise, text, sentence):
    assert blank(exercise, [text]) == [sentence]


def test_hashes_of_every_length(blank):
    """A message of a hash ends in a block of its own or not: both are met."""
    words = ["é" * (length % 3) + "x" * length for length in range(1, 140)]
    for word in words[::6]:
        exercise = Exercise("Your turn 1", right=word, hints=[("y" + word, "é" * 70)])
        said = blank(exercise, [word, "y" + word, "z" + word])
        assert said == ["right. So it is.", f"not yet. {'é' * 70}", "not yet."]
