"""Prompts as people keep them."""

import pytest
from PIL import Image

from harness.errors import AssetError, InputError
from suites.own import read_own


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_spreadsheet_is_read_by_the_names_of_its_columns(tmp_path):
    text = "\ufeffNr;Prompt;Topic;Note\n1;a hand, five fingers;anatomy;x\n2;  eine Hütte 🏔️ ;land;\n"
    own = read_own(write(tmp_path, "p.csv", text))
    assert [(p.text, p.category) for p in own.prompts] == [
        ("a hand, five fingers", "anatomy"),
        ("eine Hütte 🏔️", "land"),
    ]
    assert own.remarks == (
        "2 prompts in 2 categories (text from Prompt, category from Topic).",
        "Not read: Note, Nr.",
    )
    assert not own.checkable


def test_one_column_may_hold_commas_quotes_and_lines(tmp_path):
    text = 'prompt\r\na sign that says "OPEN", red\r\n"a sign ""SHUT"""\r\n"two\nlines"\r\n'
    own = read_own(write(tmp_path, "p.csv", text))
    assert [p.text for p in own.prompts] == [
        'a sign that says "OPEN", red',
        'a sign "SHUT"',
        "two\nlines",
    ]


def test_odd_separators_and_numbers_are_kept(tmp_path):
    rows = '{"text": "a\u2028b", "class": 0, "id": 0}\n{"text": "c", "class": 1}'
    own = read_own(write(tmp_path, "p.jsonl", rows))
    assert [(p.id, p.text, p.category) for p in own.prompts] == [
        ("0", "a\u2028b", "0"),
        ("line-2", "c", "1"),
    ]
    assert len(read_own(write(tmp_path, "p.txt", "a\x85b\nc\n")).prompts) == 2


def test_what_was_left_out_is_told_with_its_lines(tmp_path):
    text = "id,text\na,red\na,green\nb,\nc,red\nd,red \ne,\n"
    own = read_own(write(tmp_path, "p.csv", text))
    assert [(p.id, p.text) for p in own.prompts] == [("a", "red"), ("a-line-3", "green")]
    assert own.remarks == (
        "2 prompts in 1 category.",
        "2 lines have no text and were left out (4, 7).",
        "2 lines repeat texts: not asked (5, 6).",
        "Line 3 repeats an id and got another.",
    )


def test_a_column_of_another_name_is_named(tmp_path):
    path = write(tmp_path, "p.tsv", "Beschreibung\tArt\nein Haus\tBau\n")
    with pytest.raises(InputError, match="--column text=Beschreibung"):
        read_own(path)
    own = read_own(path, {"text": "Beschreibung", "category": "Art"})
    assert (own.prompts[0].text, own.prompts[0].category) == ("ein Haus", "Bau")
    with pytest.raises(InputError, match="no column 'Name' for text; it has Beschreibung, Art"):
        read_own(path, {"text": "Name"})
    with pytest.raises(InputError, match="columns: size is none of text, category, id"):
        read_own(path, {"size": "Art"})


def test_lines_and_objects_are_prompts_and_what_the_suite_writes_can_be_checked(tmp_path):
    lines = read_own(
        write(tmp_path, "p.txt", "three red circles\n\na red circle and a blue star\n")
    )
    assert [p.category for p in lines.prompts] == ["counting", "binding"]
    assert lines.checkable and lines.prompts[0].spec["count"] == 3
    rows = read_own(write(tmp_path, "p.jsonl", '{"caption": "three red circles"}\n'))
    assert rows.prompts[0].spec == lines.prompts[0].spec


def test_captioned_pictures_are_prompts_with_their_pictures(tmp_path):
    for name, caption in (("b.png", "a cat"), ("a.jpg", "a dog"), ("c.png", None)):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
        if caption:
            (tmp_path / name).with_suffix(".txt").write_text(caption)
    own = read_own(tmp_path)
    assert [p.text for p in own.prompts] == ["a dog", "a cat"]
    assert [path.name for path in own.pictures] == ["a.jpg", "b.png"]
    write(tmp_path, "metadata.csv", "file_name,text\nc.png,a cow\n")
    assert [p.text for p in read_own(tmp_path).prompts] == ["a cow"]
    write(tmp_path, "metadata.csv", "file_name\nc.png\n")
    with pytest.raises(AssetError, match=r"metadata\.csv, row 1: it has no file and text"):
        read_own(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("p.csv", "text\n", "holds no prompts"),
        ("p.csv", "text,n\na,b,c\n", r"p\.csv:2: more fields than the header has"),
        ("p.csv", b"text\n\xff\n", "is not UTF-8 .byte 5"),
        ("p.csv", "", "holds no prompts"),
        ("p.csv", 'text,n\n"a,1\nb,2\n', r"p\.csv:3: no CSV .*not closed"),
        ("p.jsonl", '{"text": ["a"]}', r"p\.jsonl:1: its text is a list"),
        ("p.jsonl", '{"text": "\\ud83d"}', r"p\.jsonl:1: its text holds half a character"),
        ("p.jsonl", "{\n", r"p\.jsonl:1: not JSON"),
        ("p.jsonl", "[]\n", r"p\.jsonl:1: a list, not an object"),
        ("p.pdf", "text\n", "are read from"),
        ("p.txt", " \n", "holds no prompts"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, text, said):
    with pytest.raises(InputError, match=said):
        read_own(write(tmp_path, name, text))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"There is no .*p\.csv"):
        read_own(tmp_path / "p.csv")
