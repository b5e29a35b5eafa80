"""The judge's rows from a tiny random network in the layout of the shipped one."""

import gzip
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.errors import AssetError
from harness.metrics.clip import CHUNK, Clip, Features, Judge
from harness.metrics.reference import extractor_sha256
from harness.protocols import Extractor
from harness.records import Prompt, Request

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
safetensors = pytest.importorskip("safetensors.torch")

WORDS = ("red", "disc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("judge")
    merges = [" ".join(pair) for pair in (("r", "e"), ("re", "d</w>"))]
    with gzip.open(path / "words.txt.gz", "wt") as sink:
        sink.write("\n".join(["# merges", *merges]))
    config = {
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": 64,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 16,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 512 + len(merges) + 1 + 2,
            "width": 32,
            "heads": 2,
            "layers": 1,
            "tokenizer_kwargs": {"bpe_path": "words.txt.gz"},
        },
    }
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "size": [64, 64]}
    (path / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": preprocess})
    )
    torch.manual_seed(0)
    model = open_clip.CLIP(**config)
    weights = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    safetensors.save_file(weights, path / "open_clip_model.safetensors")
    return path


@pytest.fixture(scope="module")
def judge(folder):
    return Judge(folder)


def pictures(n=5, size=64):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(n)]


def asked(n=5):
    texts = [f"a red disc {i}" for i in range(n)]
    return [
        Request(id=i, prompt=Prompt(id=str(i), text=t, category="single"), seed=0)
        for i, t in enumerate(texts)
    ]


def test_features_are_unit_rows_of_64_float32(judge):
    rows = judge.features(pictures())
    assert rows.shape == (5, 64) and rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_cosine_is_that_of_image_and_own_caption(judge):
    features, cosine = judge.score(pictures(), asked())
    texts = judge.captions([r.prompt.text for r in asked()])
    np.testing.assert_allclose(cosine, np.diag(features @ texts.T), atol=1e-6)
    assert abs(np.diff(cosine)).max() > 0


def test_rows_do_not_depend_on_the_batch(judge):
    whole = judge.features(pictures())
    single = np.concatenate([judge.features([image]) for image in pictures()])
    np.testing.assert_allclose(whole, single, atol=1e-5)


def test_rows_of_more_pictures_than_a_thread_takes_keep_their_order(judge):
    whole = judge.features(pictures(2 * CHUNK + 3))
    single = np.concatenate([judge.features([image]) for image in pictures(2 * CHUNK + 3)])
    np.testing.assert_allclose(whole, single, atol=1e-5)
    assert abs(np.diff(whole, axis=0)).max(axis=1).min() > 1e-3  # no two are alike


def test_the_judges_threads_leave_the_callers_as_they_are(judge):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        judge.features(pictures())
        assert torch.get_num_threads() == 2
        assert judge._threads.submit(torch.get_num_threads).result() == 1
    finally:
        torch.set_num_threads(before)


def test_pixels_of_the_models_own_size_are_only_scaled(judge):
    image = pictures(1)[0]
    judge.load()
    pixels = judge._pixels([image]).numpy()[0].transpose(1, 2, 0)
    np.testing.assert_allclose(pixels, image / 127.5 - 1, atol=1e-6)


def test_our_pixels_are_those_of_open_clips_own_transform(judge, folder):
    from PIL import Image

    transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")[2]
    image = pictures(1)[0]
    judge.load()
    np.testing.assert_allclose(
        judge._pixels([image])[0].numpy(), transform(Image.fromarray(image)).numpy(), atol=1e-6
    )


def test_larger_pictures_are_resized_to_the_models_size(judge):
    assert judge.features(pictures(2, size=128)).shape == (2, 64)


def test_tokenizer_is_the_folders_own_from_any_working_folder(folder, tmp_path):
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert Judge(folder).captions(list(WORDS)).shape == (2, 64)
    finally:
        os.chdir(before)


def test_extractors_satisfy_the_seam_and_name_the_network(judge, folder):
    assert isinstance(Clip(judge), Extractor) and isinstance(Features(judge), Extractor)
    assert Clip(judge).rows(pictures(), asked()).shape == (5, 1)
    assert Features(judge).rows(pictures(), asked()).shape == (5, 64)
    assert judge.sha256 == extractor_sha256(folder)


def test_corrupt_weights_say_where_and_what_to_do(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(AssetError, match="does not load.*un0bench train judge"):
        Judge(tmp_path).load()


def test_missing_and_broken_networks_say_where_and_what_to_do(tmp_path):
    with pytest.raises(AssetError, match="un0bench train judge"):
        Judge(tmp_path).load()
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(AssetError, match="does not load"):
        Judge(tmp_path).load()


def test_the_module_is_imported_without_torch():
    code = "import sys, harness.metrics.clip, harness.judge; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
