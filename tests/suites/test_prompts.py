import json

import pytest

from harness.errors import InputError
from suites.proc.sets import load_set
from suites.prompts import read_prompt_file


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_jsonl_rows_become_prompts(tmp_path):
    first = '{"id": "a", "text": "a cat", "category": "pets"}'
    spec = load_set("val").prompts[0].spec
    text = first + f'\n\n{{"text": "ein Käse", "spec": {json.dumps(spec)}}}\n'
    found = read_prompt_file(write(tmp_path, "mine.jsonl", text))
    assert [(p.id, p.text, p.category, p.spec) for p in found.prompts] == [
        ("a", "a cat", "pets", None),
        ("line-3", "ein Käse", "own", spec),
    ]
    assert found.name == "mine" and len(found.sha256) == 64


def test_csv_and_txt_give_the_same_prompts(tmp_path):
    table = read_prompt_file(write(tmp_path, "p.csv", 'id,text\nx,"a cat, asleep"\n'))
    lines = read_prompt_file(write(tmp_path, "p.txt", "a cat, asleep\n"))
    assert table.prompts[0].text == lines.prompts[0].text == "a cat, asleep"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.jsonl", '{"text": "a"}\n{"text": ', r"p\.jsonl:2: not JSON"),
        ("p.jsonl", '{"text": "a"}\n["a"]\n', r"p\.jsonl:2: a list, not an object"),
        ("p.jsonl", '{"id": "a"}\n', r"p\.jsonl:1: the row has no text"),
        ("p.jsonl", '{"text": 7}\n', r"p\.jsonl:1: the row has no text"),
        ("p.jsonl", '{"text": "a", "txet": "b"}\n', r"p\.jsonl:1: unknown field 'txet'"),
        ("p.jsonl", '{"text": "a", "spec": "red"}\n', r"p\.jsonl:1: spec is a str"),
        ("p.jsonl", '{"id":"a","text":"x"}\n{"id":"a","text":"y"}\n', r":2: id 'a' appears twice"),
        ("p.csv", "id,caption\n1,a\n", r"p\.csv:1: no column named text"),
        ("p.csv", "id,text\n1,a,b\n", r"p\.csv:2: not as many fields"),
        ("p.txt", "\n \n", "holds no prompts"),
        ("p.parquet", "", "are read from .jsonl, .csv or .txt"),
    ],
)
def test_a_bad_row_is_named_with_file_line_and_remedy(tmp_path, name, text, said):
    with pytest.raises(InputError, match=said):
        read_prompt_file(write(tmp_path, name, text))


def test_a_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "p.txt"
    path.write_bytes("Käse".encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        read_prompt_file(path)
