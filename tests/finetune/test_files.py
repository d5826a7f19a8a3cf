import numpy
import pandas
import pytest

from ernie_pipe.errors import InputError
from ernie_pipe.finetune.files import from_python, has_header, parse_json, read_records


def test_columns_come_in_any_order_and_case(write):
    records = read_records(write("a.tsv", "Label\tid\tTEXT_A\n1\t7\t好\n"))
    assert records.rows[0].values == {"label": "1", "id": "7", "text_a": "好"}


def test_quotes_are_text_in_tsv_and_quotes_in_csv(write):
    assert read_records(write("a.tsv", 'text\tlabel\n"好\t1\n')).rows[0].values["text"] == '"好'
    rows = read_records(write("a.csv", 'text,label\n"好,""真好""\n的",1\n坏,0\n')).rows
    assert rows[0].values["text"] == '好,"真好"\n的'
    assert rows[1].where.endswith("a.csv:4")


@pytest.mark.parametrize("content", ["text\tlabel\n好\t1\n坏\t0\t多\n", "text,label\n好,1\n坏,0,多\n"])
def test_unequal_columns_are_named_by_line(write, content):
    with pytest.raises(InputError, match=r"a:3: 3 columns where the first line has 2"):
        read_records(write("a", content))


def test_an_open_quote_in_csv_is_an_error(write):
    with pytest.raises(InputError, match=r"a\.csv:3: not CSV"):
        read_records(write("a.csv", 'text,label\n好,1\n"坏,0\n'))


def test_a_header_alone_holds_nothing(write):
    with pytest.raises(InputError, match="no lines below"):
        read_records(write("a.tsv", "text\tlabel\n"))


def test_jsonl_is_read_and_its_errors_are_named_by_line(write):
    assert read_records(write("a.jsonl", '{"text": "好"}\n\n{"text": "坏"}\n')).rows[1].where.endswith(":3")
    with pytest.raises(InputError, match=r"a\.jsonl:2: not JSON"):
        read_records(write("a.jsonl", '{"text": "好"}\n{"text": \n'))
    with pytest.raises(InputError, match=r"a\.jsonl:1: not JSON.*one object a line"):
        read_records(write("a.jsonl", '{\n  "text": "好"\n'))
    with pytest.raises(InputError, match=r"a\.jsonl:2: expected a JSON object"):
        read_records(write("a.jsonl", '{"text": "好"}\n[1]\n'))


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ('{\n "text": "好"\n}\n\n{\n "text": "坏"}\n', "JSON objects over several lines"),
        ('[\n {"text": "好"},\n\n {"text": "坏"}]\n', "a JSON list"),
        ('[{"text": "好"},\n\n\n{"text":\n "坏"}\n]', "a JSON list"),
    ],
)
def test_json_over_several_lines_is_read_with_its_lines(write, content, form):
    records = read_records(write("a.json", content))
    assert (records.form, [row.values["text"] for row in records.rows]) == (form, ["好", "坏"])
    lines = [int(row.where.rsplit(":", 1)[1]) for row in records.rows]
    assert all(content.split("\n")[line - 1].strip().startswith(("{", "[{")) for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[\n{"text": "好"},\n{"text": }]', r"a\.json:3: not JSON"),
        ('[\n{"text": "好"}', r"a\.json:2: not JSON: the list ends at no"),
        ('[\n{"text": "好"}]\n{"text": "坏"}', "or more follows it"),
        ('[{"text": "好"}, 3]', r"a\.json:1: expected a JSON object, found a int"),
        ("[\n]", "an empty list"),
    ],
)
def test_mistakes_in_a_json_list_are_named(write, content, message):
    with pytest.raises(InputError, match=message):
        read_records(write("a.json", content))


def test_columns_set_apart_by_bars(write):
    records = read_records(write("sts.txt", "a-1||一只鸟||一只|鸟||5\n"))
    assert records.form == "|| without a header"
    assert list(records.rows[0].values.values()) == ["a-1", "一只鸟", "一只|鸟", "5"]


def test_a_data_frame_is_a_source():
    frame = pandas.DataFrame({"text": ["好", None], "label": [1.5, float("nan")]}, index=[7, 9])
    records = from_python(frame, "train")
    assert [row.values for row in records.rows] == [{"text": "好", "label": 1.5}, {"text": None, "label": None}]
    assert records.rows[1].where == "train[1]"


def test_class_ids_of_a_dataset_become_names():
    from datasets import ClassLabel, Dataset, Features, Sequence, Value

    label = ClassLabel(names=["坏", "好"])
    features = Features({"text": Value("string"), "label": label, "ner_tags": Sequence(label)})
    data = Dataset.from_dict({"text": ["a"], "label": [1], "ner_tags": [[0, 1]]}, features=features)
    assert from_python(data, "train").rows[0].values == {"text": "a", "label": "好", "ner_tags": ["坏", "好"]}


def test_python_data_is_checked():
    with pytest.raises(InputError, match="train: no examples"):
        from_python([], "train")
    with pytest.raises(InputError, match=r"train\[1\]: expected a dict with the names of its columns, found a str"):
        from_python([{"text": "a"}, "b"], "train")
    with pytest.raises(InputError, match="train: a int: give a file, a list of dicts"):
        from_python(3, "train")
    with pytest.raises(InputError, match="train: two columns are called `text`"):
        from_python(pandas.DataFrame([["a", "b"]], columns=["text", "text"]), "train")
    with pytest.raises(InputError, match=r"a dict of train, test: give one split"):
        from_python({"train": [], "test": []}, "data")


def test_arrays_of_a_data_frame_are_lists():
    frame = pandas.DataFrame({"text": ["a"], "label": [numpy.array(["x", "y"])], 3: [numpy.int64(4)]})
    assert from_python(frame, "train").rows[0].values == {"text": "a", "label": ["x", "y"], "3": 4}


@pytest.mark.parametrize(
    ("cells", "named", "header"),
    [
        (["text", "class"], [], True),
        (["文本", "标签"], [], True),
        (["好极了", "评论"], [], False),
        (["文本"], [], True),
        (["Words", "class"], ["words"], True),
        (["words", "class"], ["column 1"], False),
    ],
)
def test_a_header_is_known_by_usual_names_or_those_given(cells, named, header):
    assert has_header(cells, named) == header


def test_columns_of_one_name_are_refused_and_those_without_one_numbered(write):
    with pytest.raises(InputError, match=r"a\.tsv:2: two columns are called `text`"):
        read_records(write("a.tsv", "\ntext\tTEXT\tlabel\n好\t坏\t1\n"))
    assert read_records(write("b.csv", ",text,\n0,好,\n")).columns == ("column 1", "text", "column 3")


@pytest.mark.parametrize("content", ['{"text": NESTED}\n', '[{"text": NESTED}]', '{\n"text": NESTED}'])
def test_json_nested_too_deeply_is_an_error_of_the_file(write, content):
    deep = "[" * 100_000 + "]" * 100_000
    with pytest.raises(InputError, match=r"a\.json:\d: not JSON"):
        read_records(
            write(
                "a.json",
                '{"text": 1}\n' + content.replace("NESTED", deep)
                if content[1] == '"'
                else content.replace("NESTED", deep),
            )
        )
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(deep)
