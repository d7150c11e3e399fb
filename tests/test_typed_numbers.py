import pytest

from typed_numbers import typed_numbers

OUTPUTS = [
    "all-negative: 99.88%, over 50,000 images\nratio 1.105",
    "12345 pairs\nlr 1e-05\n 7 250.5 300 in 20 runs",
]
CODE = ["train(rows=64, lr=0.25, epochs=100, images=70_000)"]


@pytest.mark.parametrize(
    "text",
    [
        "It scores 99.88% on them.",
        "It scores 99.88 % on them.",
        "It scores 99.88 per cent on them.",
        "It scores 99.88\u202f% on them.",
        r"It scores $99.88\%$ on them.",
        r"It scores $99.88\,\%$ on them.",
        "A column of percentages says 1.105 % without its sign.",
        "There are 50,000 images, 50000 in code, and 12,345 pairs.",
        "There are 50 000 images and 12 345 pairs.",
        r"There are $50{,}000$ images, or $50\,000$.",
        "$$r = 1.105$$",
        "The ratio is 1.105.",
        "A threshold of `0.5`, and a `95 %` interval.",
        "```\n0.5\n```",
        "    0.5 in an indented block",
        "Versions such as 2.11.0, years such as 2026, and 7 small things.",
        "They report 76.1 % ([He et al.](https://arxiv.org/abs/1512.03385)).",
        "See [the paper](https://doi.org/10.1109/5.771073).",
        "<https://doi.org/10.1109/5.771073>",
        "1. They report 76.1 %.\n\n   See [the paper](https://arxiv.org/abs/1512.03385).",
        "| a | b |\n| --- | --- |\n| 76.1 % | [source](https://arxiv.org/abs/1) |",
        "The gap is 250.5 here.",
        "In ImageNet 100 labels remain, and 2026 100 times.",
        "In 20 of 300 runs, with 64 rows.",
    ],
)
def test_fine(text):
    assert typed_numbers(text, OUTPUTS, CODE) == []


@pytest.mark.parametrize(
    "text, found",
    [
        ("It scores 99.8% on them.", ["99.8%"]),
        ("It scores 9.88% on them.", ["9.88%"]),
        ("It scores 99.88 on them.", ["99.88"]),
        (r"It scores $99.9\%$ on them.", ["99.9%"]),
        (r"It scores **99.9** % on them.", ["99.9 %"]),
        ("It scores 50% on them.", ["50%"]),
        ("It scores 50 percent on them.", ["50 percent"]),
        ("The ratio is 1.10, or 1.1, or 1.1055.", ["1.10", "1.1", "1.1055"]),
        ("In 23 of 300 runs.", ["23"]),
        ("On 2 417 genes, 1,000 cells.", ["2\u2009417", "1,000"]),
        ("With a rate of 0.25 on 70,000 images.", ["0.25", "70,000"]),
        ("The year 2126.", ["2126"]),
        ("The ratio is .105, or ...1.5.", [".105", "1.5"]),
        (
            "There are 50,001 images and 123456.",
            ["50,001", "123456"],
        ),
        ("There are 60 000 images.", ["60\u2009000"]),
        ("There are 1234 or 12346.", ["1234", "12346"]),
        ("A rate of 1e-5 or 2e-05.", ["1e-5", "2e-05"]),
        ("Between 0.25–0.75 (k=0.125), x1.5.", ["0.25", "0.75", "0.125", "1.5"]),
        ("$$x = 0.5$$", ["0.5"]),
        ("It is $$x = 0.5$$.", ["0.5"]),
        ("# On 0.5", ["0.5"]),
        ("> On 0.5", ["0.5"]),
        ("![a picture of 0.5](picture.png)", ["0.5"]),
        (
            "A link comes later: 0.5.\n\n[source](https://arxiv.org/abs/1512.03385)",
            ["0.5"],
        ),
        ("- 0.5\n- [source](https://arxiv.org/abs/1512.03385)", ["0.5"]),
        ("- [source](https://arxiv.org/abs/1512.03385)\n  - 0.5", ["0.5"]),
        (
            "| a | b |\n| --- | --- |\n| 0.5 | |\n| | [e](https://arxiv.org/abs/1) |",
            ["0.5"],
        ),
        ("See [below](#below): 0.5.", ["0.5"]),
        ("[Open in Colab](https://colab.research.google.com/): 0.5.", ["0.5"]),
    ],
)
def test_typed(text, found):
    assert typed_numbers(text, OUTPUTS, CODE) == found


def test_without_code_a_setting_is_a_typed_number():
    assert typed_numbers("For 64 rows.", OUTPUTS) == ["64"]
