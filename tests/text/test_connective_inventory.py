import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.text import connective_inventory
from ernie_pipe.text.connective_inventory import RELATIONS, parse, read_text


def test_the_shipped_inventory_has_the_relations_in_their_order():
    inventory = parse(read_text())
    assert inventory.relations == RELATIONS
    assert {entry.relation for found in inventory.entries.values() for entry in found} == set(RELATIONS)


def test_lines_become_entries():
    inventory = parse("# a comment\n\n虽然/虽…但是/却\tcontrast\n为了…\tgoal\tstart\n不过\tcontrast\tnot=#/是\n")
    assert inventory.relations == ("contrast", "goal")
    assert set(inventory.entries) == {"虽然", "虽", "为了", "不过"}
    (pair,), (opener,), (link,) = (inventory.entries[word] for word in ("虽", "为了", "不过"))
    assert (pair.opens, pair.seconds) == (True, {"但是", "却"})
    assert (opener.opens, opener.seconds, opener.places) == (True, frozenset(), {"start"})
    assert not link.opens
    assert [bool(link.unless.match(text)) for text in ("三天", "5", "是", "他")] == [True, True, True, False]


def test_the_longest_connective_is_found_first():
    pattern = parse("因为\treason\n因为如此\tresult\n因\treason").pattern
    assert [match.group() for match in pattern.finditer("因为如此因为因")] == ["因为如此", "因为", "因"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("但是 contrast\n", "own.tsv, line 1: 1 columns, expected `connective<tab>relation<tab>rules`"),
        ("# x\n但是\tcon trast\n", "own.tsv, line 2: `con trast` is no name of a relation"),
        ("一…二…三\tx\n", "line 1: `一…二…三` has more than one …"),
        ("因为//由于\tx\n", "line 1: `` in `因为//由于` is no word"),
        ("但是\tx\tinsde\n", "line 1: unknown rule `insde`; known: head, start, inside, comma, last, not=A/B"),
        ("但是\tx\thead inside\n", "line 1: `head` and `inside` exclude each other"),
        ("但是\tx\n但是\tx\n", "line 2: `但是` stands in line 1 with the same rules already"),
        ("# nothing\n", "own.tsv: holds no connective"),
    ],
)
def test_a_mistake_is_named_with_its_line(text, message):
    with pytest.raises(InputError) as caught:
        parse(text, "own.tsv")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf8_is_named(write):
    path = write("own.tsv", "但是\tcontrast\n".encode("gb18030"))
    with pytest.raises(InputError, match=r"own\.tsv: not UTF-8 at byte 0"):
        read_text(str(path))


def test_a_file_of_one_s_own_is_read(write):
    path = write("own.tsv", "\ufeff但是\tcontrast\n")
    assert list(parse(connective_inventory.read_text(str(path))).entries) == ["但是"]
