"""Lexicon files: every form that `--lexicon` takes, counts that add up, and errors that name file and line."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ernie_pipe import cli, resources
from ernie_pipe.errors import InputError
from ernie_pipe.text.lexicon_files import read_lexicons

BIO = "他 O\n在 O\n哈 B-LOC\n尔 I-LOC\n滨 I-LOC\n\n长 B-GPE\n江 I-GPE\n江 B-PER\n水 I-PER\n"
BMES = "长 B-NT\n江 M-NT\n社 E-NT\n他 S-NAME\n哈 B-NS\n尔 M-NS\n滨 E-NS\n"


def entities(*arguments, **options):
    return read_lexicons([str(argument) for argument in arguments], **options).entities


def test_the_heaviest_type_wins_the_first_at_a_tie(write):
    first = write("1.tsv", "\ufeff# comment\r\n长江\tLOC\r\n\r\n黄河\tLOC\t2\n# 1\n")
    second = write("2.tsv", "长江\tORG\n黄河\tWORK\t3\n省会\tPHRASE\n")
    table = read_lexicons([str(first), str(second)])
    assert table.entities == {"长江": "LOC", "黄河": "WORK"}
    assert table.phrases == {"省会"}


def test_a_surface_may_be_an_entity_and_a_phrase(write):
    table = read_lexicons([str(write("a.tsv", "长江\tLOC\n长江\tPHRASE\t9\n"))])
    assert (table.entities, table.phrases) == ({"长江": "LOC"}, {"长江"})
    assert table.counts["retyped"] == 0


def test_further_types_can_be_named(write):
    assert entities(write("a.tsv", "感冒\tDISEASE"), types=["DISEASE"]) == {"感冒": "DISEASE"}


def test_lists_are_read_whatever_their_line_ends_spaces_and_counts(write):
    mac = write("mac.txt", "\ufeff长江\t20\r黄河\t3?\r\r")
    spaced = write("a=b.txt", "黄河 \t 5 \r\n省会\n云 海\t\n")
    table = read_lexicons([f"LOC={mac}", f"TERM={spaced}", f"PHRASE={spaced}"])
    assert table.entities == {"长江": "LOC", "黄河": "TERM", "省会": "TERM", "云 海": "TERM"}
    assert table.phrases == {"黄河", "省会", "云 海"}
    assert table.counts["files"] == {f"LOC={mac}": 2, f"TERM={spaced}": 3, f"PHRASE={spaced}": 3}
    assert table.counts["unread_weights"] == 3


def test_a_file_may_have_an_equals_sign_in_its_name(write, monkeypatch, tmp_path):
    write("X=a.tsv", "长江\tLOC\n")
    monkeypatch.chdir(tmp_path)
    assert entities("X=a.tsv", "./X=a.tsv") == {"长江": "LOC"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (BIO, {"哈尔滨": "LOC", "长江": "LOC", "江水": "PER"}),
        (BMES, {"长江社": "ORG", "哈尔滨": "LOC"}),
        ("哈 I-LOC\n尔 I-LOC\n滨 I-PER\n江 E-PER\n", {"哈尔": "LOC", "滨江": "PER"}),
        ("New B-LOC\nYork I-LOC\nN B-ORG\nB I-ORG\nA I-ORG\n", {"New York": "LOC", "NBA": "ORG"}),
        ("a\tx\tB-PER\n b\tx\tI-PER\n", {"ab": "PER"}),
    ],
)
def test_labelled_text_gives_its_spans(write, content, expected):
    assert entities(f"conll={write('a.txt', content)}") == expected


def test_the_type_that_labelled_text_gives_most_often_wins(write):
    file = write("a.txt", "长 B-PER\n江 I-PER\n\n" + "长 B-LOC\n江 I-LOC\n\n" * 2)
    assert entities(f"conll={file}") == {"长江": "LOC"}


def test_labels_of_ones_own_are_mapped_or_left_out(write):
    file = write("a.txt", "汉 B-RACE\n族 E-RACE\n教 B-TITLE\n授 E-TITLE\n感 B-DISEASE\n冒 E-DISEASE\n")
    found = entities(f"conll:RACE:MISC,title:O={file}", types=["MISC", "DISEASE"])
    assert found == {"汉族": "MISC", "感冒": "DISEASE"}


@given(
    st.lists(st.tuples(st.sampled_from(["一", "长江", "黄河"]), st.sampled_from(["LOC", "PER", "PHRASE"])), min_size=1)
)
def test_every_entry_is_accounted_for(tmp_path, entries):
    file = tmp_path / "a.tsv"
    file.write_text("".join(f"{surface}\t{kind}\n" for surface, kind in entries), encoding="utf-8")
    table = read_lexicons([str(file)])
    counts = table.counts
    parts = ("entities", "phrases", "one_character", "duplicates", "retyped")
    assert counts["entries"] == len(entries) == sum(counts[name] for name in parts)
    assert counts["entities"] == len(table.entities)
    assert counts["one_character"] == sum(len(surface) == 1 for surface, _ in entries)
    both = {surface for surface, kind in entries if kind == "LOC"} & {s for s, kind in entries if kind == "PER"}
    assert counts["surfaces_of_two_types"] == len(both - {"一"})


def test_what_was_left_out_is_said(write, caplog):
    caplog.set_level("INFO", "ernie_pipe")
    read_lexicons([str(write("a.tsv", "江\tLOC\n长江\tLOC\n长江\tPER\n"))])
    assert "of 3 entries 1 of one character left out" in caplog.text
    assert "1 given with two types" in caplog.text
    caplog.clear()
    read_lexicons([str(write("b.tsv", "长江\tLOC\n"))])
    assert not caplog.text


TSV_ERRORS = [
    ("长江\tLOC\n黄河\n", r"a\.tsv, line 2: expected `surface<TAB>type`.*'黄河'"),
    ("\tLOC\n", r"a\.tsv, line 1: expected"),
    ("a\tb\tc\td\n", r"a\.tsv, line 1: expected"),
    ("长江\tRIVER\n", r"a\.tsv, line 1: unknown type 'RIVER'; .*PER.*PHRASE"),
    ("长江\tLOCATION\n", r"a\.tsv, line 1: unknown type 'LOCATION'; did you mean `LOC`\?"),
    ("长江\t193\n", r"line 1: unknown type '193'.*given as `TYPE=FILE`"),
    ("长江\tLOC\theavy\n", r"a\.tsv, line 1: the weight 'heavy' is no number"),
    ("长江\tLOC\tnan\n", r"a\.tsv, line 1: the weight 'nan' is no number"),
    ("长江\tLOC\n黄\0河\tLOC\n", r"a\.tsv, line 2: a NUL character"),
    ("", r"a\.tsv: holds no entries"),
    ("# only\n\n", r"a\.tsv: holds no entries"),
    ("a\tLOC\n长江\tLOC\n".encode("gb18030"), r"line 2: not UTF-8 \(byte 6\); it looks like GB18030: `iconv"),
    ("长江\tLOC\n".encode("utf-16"), r"line 1: not UTF-8 \(byte 0\); it looks like UTF-16"),
    ("长江\tLOC\n".encode("utf-16-le"), r"it looks like UTF-16LE: `iconv -f UTF-16LE"),
    ("黄河长江\tLOC\n".encode("utf-16-be"), r"it looks like UTF-16BE: `iconv -f UTF-16BE"),
    (b"\x1f\x8b\x08\x00", r"a\.tsv: is compressed"),
    (b"ab\tLOC\n\xff", r"line 2: not UTF-8 \(byte 7\): save it as UTF-8"),
]


@pytest.mark.parametrize(("content", "message"), TSV_ERRORS)
def test_errors_name_file_and_line(write, content, message):
    with pytest.raises(InputError, match=message):
        read_lexicons([str(write("a.tsv", content))])


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("LOC=", "长江\tLOC\n", r"a\.txt, line 1: expected a surface and an optional count.*without `LOC=`"),
        ("LOC=", "长江\t1\t2\n", r"a\.txt, line 1: expected a surface"),
        ("PLACE=", "长江\n", r"unknown type 'PLACE'"),
        ("conll=", "他 O\n汉 B-RACE\n", r"a\.txt, line 2: no type is known for the label 'RACE': say `conll:RACE:TYPE"),
        ("conll=", "汉 X-LOC\n", r"a\.txt, line 1: tag 'X-LOC' is none of O, B-TYPE"),
        ("conll=", "长江\tLOC\n", r"a\.txt, line 1: tag 'LOC' is none of O, B-TYPE"),
        ("conll=", "他 O\n", r"a\.txt: holds no entries"),
        ("conll:RACE=", "汉 B-RACE\n", r"expected `conll:LABEL:TYPE,LABEL:TYPE=FILE`, found 'RACE'"),
        ("conll:RACE:FOLK=", "汉 B-RACE\n", r"found 'RACE:FOLK'; the types are LOC, PHRASE"),
        ("conll=", "长 B-PER\n", r"a\.txt, line 1: no type is known for the label 'PER'"),
    ],
)
def test_errors_of_lists_and_labelled_text(write, form, content, message):
    with pytest.raises(InputError, match=message):
        read_lexicons([f"{form}{write('a.txt', content)}"], types=["LOC"])


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.tsv: no such file"):
        read_lexicons([str(tmp_path / "gone.tsv")])
    with pytest.raises(InputError, match="cannot be read"):
        read_lexicons([f"LOC={tmp_path}"])


@pytest.mark.parametrize("content", ["长江\n", "长江\tLOCK\n", "长江\tLOC\n".encode("gb18030"), ""])
def test_the_command_ends_with_one_line_before_spark_starts(write, monkeypatch, capsys, content):
    pytest.importorskip("pyspark")
    monkeypatch.setattr(resources.job("session"), "start", lambda _: pytest.fail("Spark was started"))
    lexicon, text = write("a.tsv", content), write("a.txt", "长江")
    argv = ["ernie-pipe", "segment", "--input", str(text), "--lexicon", str(lexicon), "--output", str(text) + ".out"]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1
    assert error[0].startswith(f"error: {lexicon}")


def test_a_long_file_is_read_in_little_memory(tmp_path, soak):
    import resource

    lines = 5_000_000 if soak else 20_000
    file = tmp_path / "a.tsv"
    with file.open("w", encoding="utf-8") as out:
        out.writelines(f"{chr(0x4E00 + i % 20000)}{chr(0x4E00 + i // 20000)}江\tLOC\t{i}\n" for i in range(lines))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(read_lexicons([str(file)]).entities) == lines
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 << 20
