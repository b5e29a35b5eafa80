"""Inception's features are clean-fid's own, with a tiny TorchScript where its network would lie."""

import hashlib
import json
import urllib.error

import numpy as np
import pytest
import yaml
from PIL import Image
from toy_audits import SMALL

from harness import bundle, cli
from harness.errors import AssetError, ConfigError
from harness.evidence import read_evidence
from harness.metrics.frechet import from_moments
from harness.metrics.inception import SCRIPT, WEIGHTS, Inception
from harness.metrics.summary import Table
from harness.metrics.whole import distance
from harness.protocols import Extractor, Prepared, Whole
from suites.proc.render import render
from suites.proc.sets import load_set

torch = pytest.importorskip("torch")
features_of = pytest.importorskip("cleanfid.features")
fid = pytest.importorskip("cleanfid.fid")
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The parameter 'pretrained':UserWarning"),
    pytest.mark.filterwarnings("ignore:Arguments other than a weight enum:UserWarning"),
]
COLUMNS = 40


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        pool, flat = torch.nn.AdaptiveAvgPool2d(6), torch.nn.Flatten()
        self.layers = torch.nn.Sequential(pool, flat, torch.nn.Linear(108, 2048), torch.nn.ReLU())

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    torch.jit.script(Tiny()).save(str(folder / SCRIPT))
    return folder


def pictures(count, offset=0):
    prompts = [p for p in load_set("val").prompts if p.spec][:20]
    seeds = range(offset, offset + count)
    return [render(dict(prompts[i % 20].spec), np.random.default_rng(i)) for i in seeds]


def saved(folder, images):
    folder.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04}.png")
    return folder


def test_features_are_those_of_clean_fid(network, tmp_path):
    images = pictures(20)
    folder = saved(tmp_path / "p", images)
    ours = Inception(reference=str(folder), weights=str(network))
    assert isinstance(ours, Extractor) and isinstance(ours, Whole) and isinstance(ours, Prepared)
    model = features_of.InceptionV3W(str(network)).eval()
    theirs = fid.get_folder_features(
        str(folder), model, num_workers=0, device=torch.device("cpu"), verbose=False
    )
    rows = ours.rows(images, [])
    assert rows.shape == (20, 2048) and rows.dtype == np.float32
    np.testing.assert_allclose(rows, theirs, rtol=1e-5, atol=1e-6)
    mean, covariance = ours.reference()
    np.testing.assert_allclose(mean, theirs.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(covariance, np.cov(theirs, rowvar=False), rtol=1e-4, atol=1e-6)
    found = hashlib.sha256((network / SCRIPT).read_bytes()).hexdigest()
    assert ours.facts() == {"mode": "clean", "network_sha256": found, "reference": 20}


def test_the_distance_is_that_of_clean_fid(network, tmp_path):
    ours = Inception(reference="unused", weights=str(network))
    a, b = (ours.features(pictures(n, at)).astype(np.float64) for n, at in ((120, 0), (90, 500)))
    a, b = a[:, :COLUMNS] + 1, b[:, :COLUMNS]  # fewer columns than rows, as sqrtm wants them
    known = from_moments(np.vstack([b.mean(axis=0), np.cov(b, rowvar=False)]))
    found = distance(a, np.arange(120) % 30, known)
    assert found.value == pytest.approx(fid.fid_from_feats(a, b), rel=1e-4)
    assert found.n == 120 and found.spread.low < found.value < found.spread.high
    # the jackknife by hand: what a leave-out really gives
    left = distance(a[np.arange(120) % 30 != 0], np.zeros(116, int), known)
    values = [distance(a[np.arange(120) % 30 != g], np.zeros(116, int), known) for g in range(30)]
    spread = np.std([v.value for v in values]) * np.sqrt(29)
    assert left.spread is None and found.spread.error == pytest.approx(spread, rel=1e-6)


def test_statistics_of_clean_fid_are_a_reference_too(network, tmp_path):
    path = tmp_path / "stats.npz"
    np.savez(path, mu=np.zeros(2048), sigma=np.eye(2048))
    ours = Inception(reference=str(path), weights=str(network))
    ours.ready()
    assert ours.reference()[1].trace() == 2048
    assert ours.facts()["reference"] == hashlib.sha256(path.read_bytes()).hexdigest()
    np.savez(path, mean=np.zeros(3))
    with pytest.raises(AssetError, match=r"no .npz with mu and sigma"):
        ours.reference()
    np.savez(path, mu=np.zeros(3), sigma=np.eye(2))
    with pytest.raises(AssetError, match=r"Is it of another network"):
        ours.reference()


def test_offline_says_which_file_to_put_where(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for mode, file in (
        ("clean", tmp_path / "un0bench" / "clean-fid" / SCRIPT),
        ("legacy_pytorch", tmp_path / "torch" / "hub" / "checkpoints" / WEIGHTS),
    ):
        ours = Inception(reference="unused", mode=mode)
        with pytest.raises(AssetError, match=rf"Offline\? Put {file.name} at {file}"):
            ours.features(pictures(1))
    (tmp_path / SCRIPT).write_bytes(b"broken")
    with pytest.raises(AssetError, match="if a broken one lies there, delete it"):
        Inception(reference="unused", weights=str(tmp_path)).features(pictures(1))


def test_the_legacy_mode_is_pytorch_fids_network_and_resize(tmp_path, monkeypatch):
    """MLPerf's figure is made so: bilinear without antialiasing, and weights ported to PyTorch."""
    from cleanfid import inception_pytorch

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / WEIGHTS
    kept.parent.mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(torch.nn.Module, "load_state_dict", lambda *_: None)
        patched.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: {})
        torch.manual_seed(0)
        torch.save(inception_pytorch.fid_inception_v3().state_dict(), kept)
    images = pictures(2)
    found = Inception(reference="unused", mode="legacy_pytorch").features(images)
    model = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False).eval()
    stack = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2)).float() / 255
    # as pytorch-fid does inside the network, whose lines clean-fid took out
    size = {"size": (299, 299), "mode": "bilinear", "align_corners": False}
    stack = torch.nn.functional.interpolate(stack, **size)
    with torch.inference_mode():
        wanted = model(stack)[0].squeeze(-1).squeeze(-1).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-5)


def test_what_is_asked_wrongly_is_said(tmp_path):
    with pytest.raises(ConfigError, match="'fast' of Inception; it is one of clean"):
        Inception(reference="x", mode="fast")
    with pytest.raises(AssetError, match="No file or folder at"):
        Inception(reference=str(tmp_path / "none")).ready()
    with pytest.raises(AssetError, match="holds 0 pictures"):
        Inception(reference=str(tmp_path)).ready()


def test_an_audit_keeps_features_and_says_the_distance(network, tmp_path, capsys):
    reference = saved(tmp_path / "real", pictures(30))
    inside = f"_target_: harness.metrics.inception.Inception, weights: {network}"
    words = ["audit", *SMALL, "system=[renderer,null]", "candidate=renderer", "baseline=null"]
    words += [f"out={tmp_path}", "name=i"]
    gone = f"+suite.extractors.inception={{{inside}, reference: {tmp_path / 'none'}}}"
    assert cli.main([*words, gone]) == 2
    assert "No file or folder at" in capsys.readouterr().err  # before anything is measured
    claim = {"id": "near", "statement": "It is near.", "quantity": "score", "min_prompts": 5}
    claim["ranges"] = [{"metric": "inception", "low": 1, "high": 2}]
    (tmp_path / "near.yaml").write_text(yaml.safe_dump(claim))
    there = f"+suite.extractors.inception={{{inside}, reference: {reference}}}"
    words[-1] = "name=j"
    assert cli.main([*words, there, f"claims=[{tmp_path / 'near.yaml'}]"]) == 0
    run = tmp_path / "j"
    found = {r["system"]: r for r in bundle.read_table(run, "scores") if r["metric"] == "inception"}
    evidence = read_evidence(run)
    assert found["renderer"]["value"] < found["null"]["value"]
    asked = [r for r in evidence.requests if r["system"] == "renderer" and r["core"]]
    asked = [r for r in asked if evidence.prompts[r["prompt_id"]].category != "emblem"]
    assert found["renderer"]["n"] == len({r["prompt_id"] for r in asked})
    assert Table(evidence).distance("inception", "renderer").value == found["renderer"]["value"]
    assert json.loads((run / "settings.json").read_text())["whole"]["inception"]["mode"] == "clean"
    assert "inception (clean, " in (run / "report.md").read_text()
    verdict = bundle.read_json(run / "verdicts.json")[0]
    assert verdict["claim"] == "near" and "network_sha256" in verdict["reasons"][0]
    assert cli.main(["verify", str(run)]) == 0
