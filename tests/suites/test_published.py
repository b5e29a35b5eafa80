"""Published sets by manifest: fetched from a local server, checked, read as their files are."""

import hashlib
import http.server
import json
import threading
import zipfile
from functools import partial

import pytest
import yaml
from toy_audits import SMALL

from harness import assets, bundle, cli
from harness.errors import AssetError, InputError
from suites.published import manifest, names, read_published

PARTI = 'Prompt\tCategory\tNote\n"G I G" painted\tArt\tb\na cow\tAnimals\tb\na cow\tArt\t\n'
DRAWBENCH = '"Prompts","Category",""\n"A red, red cow.","Colors",""\n"Two cows.","Counting",""\n'
GENEVAL = '{"tag": "single_object", "include": [], "prompt": "a photo of a bench"}\n'
COCO = [{"image_id": 9, "id": 1, "caption": "A cow. "}, {"image_id": 8, "id": 2, "caption": "A"}]
COCO += [{"image_id": 9, "id": 3, "caption": "Another cow."}]
TINY = [text.replace(".mini.", ".small.") for text in SMALL if "reference" not in text]


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def served(tmp_path):
    """A folder, and the address at which a server of this machine has it."""
    folder = tmp_path / "www"
    folder.mkdir()
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def written(path, name, url, prompts, **changes):
    """The shipped manifest of `name` with another address and count; a .yaml of one's own."""
    facts = yaml.safe_load(
        (assets.resolve("package:suites/published") / f"{name}.yaml").read_text()
    )
    path = path / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**facts, "url": url, "prompts": prompts, **changes}))
    return str(path)


def put(folder, name, data):
    (folder / name).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def test_what_is_shipped_tells_its_licence_and_no_hash_that_nobody_took():
    assert names() == ("coco", "coco-mlperf", "drawbench", "geneval", "parti")
    counts = {name: manifest(name).prompts for name in names()}
    # Parti and GenEval: their papers; DrawBench: the Imagen paper; COCO: one caption a picture
    assert counts == {
        "coco": 5000,
        "coco-mlperf": 5000,
        "drawbench": 200,
        "geneval": 553,
        "parti": 1632,
    }
    assert all(manifest(name).licence and manifest(name).sha256 is None for name in names())


@pytest.mark.parametrize(
    ("name", "data", "texts", "categories"),
    [
        ("parti", PARTI, ['"G I G" painted', "a cow", "a cow"], ["Art", "Animals", "Art"]),
        ("drawbench", DRAWBENCH, ["A red, red cow.", "Two cows."], ["Colors", "Counting"]),
        ("geneval", GENEVAL, ["a photo of a bench"], ["single_object"]),
        (
            "coco-mlperf",
            'id\timage_id\tcaption\n70\t9\t"A ""cow"""\n71\t9\tA cow\n',
            ['A "cow"', "A cow"],
            ["all prompts"] * 2,
        ),
    ],
)
def test_each_set_is_read_as_its_file_is_written(served, tmp_path, name, data, texts, categories):
    folder, address = served
    digest = put(folder, "set.txt", data.encode())
    path = written(tmp_path, name, f"{address}/set.txt", len(texts))
    found = read_published(path, digest)
    assert [prompt.text for prompt in found.prompts] == texts
    assert [prompt.category for prompt in found.prompts] == categories
    assert len({prompt.id for prompt in found.prompts}) == len(texts)
    assert found.source["sha256"] == digest and found.version == digest[:12]


def test_of_coco_each_picture_gives_its_first_caption(served, tmp_path):
    folder, address = served
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("annotations/captions_val2017.json", json.dumps({"annotations": COCO}))
    digest = hashlib.sha256((folder / "a.zip").read_bytes()).hexdigest()
    found = read_published(written(tmp_path, "coco", f"{address}/a.zip", 2), digest)
    assert [(p.id, p.text) for p in found.prompts] == [("9", "A cow."), ("8", "A")]
    put(folder, "b.zip", b"no archive")
    digest = hashlib.sha256(b"no archive").hexdigest()
    with pytest.raises(InputError, match=r"no annotations/captions_val2017.json in it"):
        read_published(written(tmp_path, "coco", f"{address}/b.zip", 2), digest)


def test_a_set_without_a_hash_is_refused_until_one_is_said(served, tmp_path, capsys):
    folder, address = served
    digest = put(folder, "p.tsv", PARTI.encode())
    path = written(tmp_path, "parti", f"{address}/p.tsv", 3)
    with pytest.raises(InputError, match="un0bench fetch .* then say what you trust"):
        read_published(path)
    assert cli.main(["fetch", path]) == 0
    told = capsys.readouterr().out
    assert "3 prompts from" in told and "a cow" in told and "Licence: Apache-2.0" in told
    assert f"suite.prompts={path} suite.sha256={digest}" in told
    (folder / "p.tsv").unlink()  # what was shown is kept under its hash
    assert len(read_published(path, digest).prompts) == 3


def test_what_is_not_what_the_manifest_tells_is_refused(served, tmp_path, capsys):
    folder, address = served
    digest = put(folder, "p.tsv", PARTI.encode())
    path = written(tmp_path, "parti", f"{address}/p.tsv", 4)
    with pytest.raises(InputError, match=r"holds 3 prompts; parti has 4"):
        read_published(path, digest)
    with pytest.raises(AssetError, match="do not use it"):
        read_published(path, "0" * 64)
    with pytest.raises(InputError, match="64 hex digits"):
        read_published(path, "abc")
    path = written(tmp_path, "parti", f"{address}/p.tsv", 3, sha256="1" * 64)
    with pytest.raises(InputError, match="but the manifest of parti has 1111"):
        read_published(path, digest)
    assert cli.main(["fetch", path]) == 1
    assert "is not what the manifest names" in capsys.readouterr().err
    path = written(tmp_path, "parti", f"{address}/p.tsv", 3, text="Frage")
    with pytest.raises(InputError, match="no Frage, which holds the prompts"):
        read_published(path, digest)
    put(folder, "p.tsv", b"\xff\xfe\x00")
    digest = hashlib.sha256(b"\xff\xfe\x00").hexdigest()
    with pytest.raises(InputError, match="is not UTF-8"):
        read_published(path, digest)


def test_offline_says_where_to_put_the_file(tmp_path):
    path = written(tmp_path, "parti", "http://127.0.0.1:9/p.tsv", 3)
    with pytest.raises(
        AssetError, match=r"Offline\? Put the file at .*p.tsv \(its hash is checked"
    ):
        read_published(path, "0" * 64)
    with pytest.raises(InputError, match="There is no set 'party'. Known: coco, "):
        read_published("party")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "xml"}, "kind is 'xml'"),
        ({"quoted": "no"}, "quoted is 'no', a str"),
        ({"sha256": "abc"}, "sha256 is 'abc'"),
        ({"column": "x"}, "unknown key 'column'"),
    ],
)
def test_a_wrong_manifest_is_named_by_its_key(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        manifest(written(tmp_path, "parti", "file:///x", 3, **change))


def test_a_bundle_keeps_the_hash_of_its_set_and_is_verified(served, tmp_path):
    folder, address = served
    digest = put(folder, "p.tsv", PARTI.encode())
    path = written(tmp_path, "parti", f"{address}/p.tsv", 3, sha256=digest)
    systems = [f"+systems.{n}={{_target_: toy_systems.Toy, batch: 2, seconds: 0}}" for n in "ab"]
    done = ["audit", "suite=published", f"suite.prompts={path}", *TINY, "system=null", *systems]
    done += ["candidate=a", "baseline=b", f"out={tmp_path}", "name=p", "claims=[time-1000x]"]
    assert cli.main(done) == 0
    run = tmp_path / "p"
    assert bundle.read_yaml(run / "config.yaml")["suite"]["sha256"] == digest
    source = bundle.read_manifest(run)["prompt_set"]["source"]
    assert source == {"url": f"{address}/p.tsv", "sha256": digest, "licence": "Apache-2.0"}
    assert {p.text for p in bundle.read_prompts(run).values()} == {'"G I G" painted', "a cow"}
    assert cli.main(["verify", str(run)]) == 0


def test_a_stress_test_takes_a_set_by_name(served, tmp_path, capsys):
    folder, address = served
    digest = put(folder, "p.tsv", PARTI.encode())
    path = written(tmp_path, "parti", f"{address}/p.tsv", 3)
    pair = ["--candidate", "null", "--baseline", "renderer", "--judge", "none", "--dry-run"]
    assert cli.main(["stress", "parti", *pair]) == 2
    assert "un0bench fetch parti" in capsys.readouterr().err
    pair = ["--candidate", "a", "--baseline", "b", "--judge", "none", "--dry-run"]
    toys = [f"+systems.{n}={{_target_: toy_systems.Toy, batch: 2, seconds: 0}}" for n in "ab"]
    assert cli.main(["stress", path, *pair, *toys, f"suite.sha256={digest}"]) == 0
    assert f"3 prompts of {path} (Apache-2.0)" in capsys.readouterr().out


def test_a_hash_of_a_file_of_ones_own_is_refused(tmp_path, capsys):
    (tmp_path / "ours.txt").write_text("a cow\n")
    words = ["audit", "suite=published", f"suite.prompts={tmp_path / 'ours.txt'}", *TINY]
    assert cli.main([*words, f"suite.sha256={'0' * 64}", f"out={tmp_path}", "name=x"]) == 2
    assert "suite.sha256 is of a published set" in capsys.readouterr().err
    assert cli.main(["audit", "suite=published"]) == 2
    assert "suite.prompts has no value" in capsys.readouterr().err
