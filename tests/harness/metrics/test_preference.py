"""A reward model's column, from a tiny CLIPModel made of its configuration."""

import json

import numpy as np
import pytest
import yaml
from toy_audits import SMALL

from harness import bundle, cli
from harness.errors import AssetError, ConfigError
from harness.metrics.preference import Preference
from harness.protocols import Extractor, Prepared
from harness.records import Prompt, Request

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("reward")
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    (path / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(path / "vocab.json"), str(path / "merges.txt"))
    size = {"shortest_edge": 32}
    pictures = transformers.CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(pictures, tokenizer).save_pretrained(path)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    small["num_attention_heads"] = 2
    text = {**small, "vocab_size": len(words), "max_position_embeddings": 16}
    text |= {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1}
    vision = {**small, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(path)
    return path


def pictures(count):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (48, 48, 3), np.uint8) for _ in range(count)]


def asked(texts):
    return [
        Request(id=i, prompt=Prompt(id=str(i), text=text, category="c"), seed=0)
        for i, text in enumerate(texts)
    ]


def test_a_reward_is_the_scaled_cosine_of_each_picture_with_its_own_prompt(folder):
    ours = Preference(model=str(folder))
    assert isinstance(ours, Extractor) and isinstance(ours, Prepared)
    texts = ["a red cow", "two dogs", "a blue box " * 9] * 7  # 21: more than a batch
    images = pictures(21)
    rows = ours.rows(images, asked(texts))
    assert rows.shape == (21, 1)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder)
    for at in (0, 1, 2, 20):  # PickScore's own lines, a picture at a time
        pixels = processor(images=[images[at]], return_tensors="pt")["pixel_values"]
        words = {"padding": True, "truncation": True, "max_length": 16, "return_tensors": "pt"}
        tokens = processor(text=[texts[at]], **words)
        with torch.inference_mode():
            image = model.visual_projection(model.vision_model(pixels).pooler_output)
            text = model.text_projection(
                model.text_model(tokens["input_ids"], tokens["attention_mask"]).pooler_output
            )
            cosine = torch.nn.functional.cosine_similarity(image, text)
            score = float(model.logit_scale.exp() * cosine)
        assert rows[at, 0] == pytest.approx(score / 100, abs=1e-5)
    other = ours.rows(images[:1], asked(["two dogs"]))
    assert abs(other[0, 0] - rows[0, 0]) > 1e-4  # the prompt matters


def test_what_is_no_model_is_said_with_a_remedy(tmp_path, folder):
    with pytest.raises(AssetError, match="No model.safetensors in .* pickles are not read"):
        Preference(model=str(tmp_path)).ready()
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(AssetError, match="No CLIPModel with its processor loads"):
        Preference(model=str(tmp_path), processor=str(folder)).rows(pictures(1), asked(["a"]))
    with pytest.raises(ConfigError, match="built in"):
        Preference(name="clip")


def test_a_claim_asks_for_a_reward_as_for_any_metric(tmp_path, folder):
    claim = {"id": "liked", "statement": "It is liked.", "quantity": "quality"}
    claim["endpoints"] = [{"metric": "pickscore", "kind": "difference", "margin": 0.02}]
    (tmp_path / "liked.yaml").write_text(yaml.safe_dump(claim))
    reward = f"{{_target_: harness.metrics.preference.Preference, model: {folder}}}"
    words = ["audit", *SMALL, "system=[renderer,null]", "candidate=renderer", "baseline=null"]
    words += [f"+suite.extractors.pickscore={reward}", f"claims=[{tmp_path / 'liked.yaml'}]"]
    assert cli.main([*words, f"out={tmp_path}", "name=p"]) == 0
    run = tmp_path / "p"
    items = [r for r in bundle.read_table(run, "items") if r["metric"] == "pickscore"]
    systems = {r["system"] for r in items}
    assert {"renderer", "null", "control:blur"} <= systems
    parts = bundle.read_json(run / "verdicts.json")[0]["evidence"]
    assert parts[0]["name"] == "equal quality: pickscore" and parts[0]["estimate"] is not None
    assert cli.main(["verify", str(run)]) == 0
