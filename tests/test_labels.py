from collections import Counter
from importlib.resources import files

from helpers import labels
from helpers.labels import categories, class_names

SIZES = {
    "airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7, "car": 3, "cat": 6,
    "chair": 4, "clock": 3, "dog": 109, "elephant": 2, "keyboard": 2, "knife": 1, "oven": 1, "truck": 8,
}


def test_names():
    names = class_names()
    assert len(names) == 1000 and all(name and name == name.strip() and "," not in name for name in names)
    assert (names[0], names[65], names[281], names[404], names[967], names[999]) == ("tench", "sea snake", "tabby", "airliner", "espresso", "toilet tissue")
    assert {name for name, count in Counter(names).items() if count > 1} == {"crane", "maillot"}


def test_a_list_of_ones_own():
    class_names().clear(), categories().clear(), categories()["cat"].clear()
    assert len(class_names()) == 1000 and len(categories()["cat"]) == 6


def test_categories():
    found = categories()
    assert {name: len(members) for name, members in found.items()} == SIZES and list(found) == sorted(SIZES)
    indices = [index for members in found.values() for index in members]
    assert len(indices) == len(set(indices)) == 207 and set(indices) <= set(range(1000))
    assert all(members == sorted(members) and all(type(index) is int for index in members) for members in found.values())


def test_members():
    found = categories()
    assert found["airplane"] == [404] and found["bear"] == [294, 295, 296, 297] and found["bicycle"] == [444, 671]
    assert found["boat"] == [472, 554, 625, 814, 914] and found["car"] == [436, 511, 817] and found["cat"] == [281, 282, 283, 284, 285, 286]
    assert found["bottle"] == [440, 720, 737, 898, 899, 901, 907] and found["chair"] == [423, 559, 765, 857] and found["clock"] == [409, 530, 892]
    assert found["elephant"] == [385, 386] and found["keyboard"] == [508, 878] and found["knife"] == [499] and found["oven"] == [766]
    assert found["truck"] == [555, 569, 656, 675, 717, 734, 864, 867]
    # The long ones by their ends and their sum.
    assert found["bird"][:4] == [8, 10, 11, 12] and found["bird"][-2:] == [144, 145] and sum(found["bird"]) == 4213
    assert found["dog"][:3] == [152, 153, 154] and found["dog"][-3:] == [266, 267, 268] and sum(found["dog"]) == 22672


def test_the_table_is_in_the_order_of_the_model():
    """The same WordNet ids as in timm's own list, whose order is that of every ImageNet classifier's logits."""
    table = labels._table()
    assert [int(row["index"]) for row in table] == list(range(1000))
    assert [row["wnid"] for row in table] == files("timm").joinpath("data/_info/imagenet_synsets.txt").read_text().split()
    lemmas = dict(line.split("\t") for line in files("timm").joinpath("data/_info/imagenet_synset_to_lemma.txt").read_text().splitlines())
    assert all(row["name"].split(",")[0] == lemmas[row["wnid"]].split(",")[0] for row in table)
