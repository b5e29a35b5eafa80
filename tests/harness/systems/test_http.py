"""A served model: what is asked over the wire, what fails, and what is not read here."""

import json

import numpy as np
import pytest
from toy_audits import SMALL
from toy_server import KEY, serving

from harness import bundle, cli
from harness.errors import AssetError, ConfigError
from harness.protocols import System
from harness.records import Failure, Prompt, Request
from harness.systems.http import HttpSystem
from harness.verify import verify


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with serving() as found:
        yield found


def requests(*texts):
    return [
        Request(id=i, prompt=Prompt(id=str(i), text=text, category=""), seed=(1 << 40) + i)
        for i, text in enumerate(texts)
    ]


def system(server, **config):
    made = HttpSystem(base_url=server.base_url, model="painter", **config)
    made.load()
    return made


def reason(server, text, **config):
    (answer,) = system(server, **config).generate(requests(text))
    assert isinstance(answer, Failure)
    return answer.reason


def test_pictures_come_in_the_order_that_they_were_asked_in(server):
    made = system(server, parallel=3, size="8x5")
    assert isinstance(made, System)
    images = made.generate(requests(*(f"grey {n}" for n in range(10))))
    assert [int(one[0, 0, 0]) for one in images] == list(range(10))
    assert all(one.shape == (5, 8, 3) and one.dtype == np.uint8 for one in images)
    card = made.card()
    assert (card.name, card.height, card.width) == ("painter", 5, 8)


def test_a_request_has_the_fields_of_openais_interface(server):
    made = system(server, size="8x5", seed=True, call={"quality": "low"})
    made.generate(requests("grey 1"))
    wanted = {"model": "painter", "prompt": "grey 1", "n": 1, "size": "8x5"}
    wanted |= {"response_format": "b64_json", "quality": "low", "seed": (1 << 40) % (1 << 31)}
    assert server.asked == [("/v1/images/generations", wanted, None)]
    system(server, response_format=None).generate(requests("grey 1"))
    assert server.asked[1][1] == {"model": "painter", "prompt": "grey 1", "n": 1}


def test_a_picture_is_fetched_from_the_same_server_and_from_no_other(server):
    made = system(server)
    (image,) = made.generate(requests("url /files/a.png"))
    assert (image == 99).all()
    for url in ("http://example.org/a.png", "file:///etc/passwd", "//127.0.0.1:1/a.png"):
        assert "which is not fetched" in reason(server, f"url {url}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("denied", "HTTP 400: no denied for None"),
        ("full", "HTTP 429: no full for None"),
        ("crash", "HTTP 500: no crash for None"),
        ("moved", "HTTP 302: "),
        ("html", "the server answered otherwise: Expecting value"),
        ("empty", "the server answered otherwise: list index out of range"),
        ("broken", "no picture came: cannot identify image file"),
    ],
)
def test_what_goes_wrong_with_one_request_is_its_own_failure(server, text, said):
    bad, good = system(server, parallel=2).generate(requests(text, "grey 3"))
    assert bad.reason.startswith(said) and (good == 3).all()


def test_a_silent_server_fails_the_request_in_time(server):
    assert reason(server, "slow", request_timeout_s=0.1) == "the server was silent for 0.1 s"


def test_a_picture_of_another_size_than_asked_is_a_failure(server):
    said = reason(server, "url /a.png", size="7x4")
    assert said == "6x4 came, 7x4 was asked"


def test_a_server_that_went_away_fails_requests():
    with serving() as server:
        made = system(server)
    (answer,) = made.generate(requests("grey 1"))
    assert isinstance(answer, Failure) and answer.reason.startswith("no picture came")


def test_the_key_is_read_from_the_environment_and_told_to_the_server_alone(monkeypatch):
    monkeypatch.setenv("OWN_KEY", KEY)
    with serving(keys=(f"Bearer {KEY}",)) as server:
        made = system(server, key_env="OWN_KEY")
        (image, failure) = made.generate(requests("grey 1", "crash"))
        assert server.asked[0][2] == f"Bearer {KEY}"
        assert failure.reason == "HTTP 500: no crash for Bearer ***"
        assert KEY not in str(made.card())
        monkeypatch.setenv("OWN_KEY", "another")
        with pytest.raises(AssetError, match=r"refuses the key \(HTTP 401\)"):
            system(server, key_env="OWN_KEY")
        monkeypatch.delenv("OWN_KEY")
        with pytest.raises(ConfigError, match="the environment has no OWN_KEY"):
            system(server, key_env="OWN_KEY")


def test_a_server_that_does_not_answer_is_told_with_a_remedy():
    with serving() as server:
        pass
    with pytest.raises(AssetError, match="No server answers at .* Start it"):
        system(server)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"base_url": "localhost:8000/v1"}, "it is http"),
        ({"base_url": "file:///etc"}, "it is http"),
        ({"base_url": f"http://me:{KEY}@host/v1"}, "without a name, password"),
        ({"base_url": "http://host/v1?key=a"}, "or query"),
        ({"size": "512"}, "WIDTHxHEIGHT"),
        ({"parallel": 0}, "from 1 on"),
        ({"request_timeout_s": 0}, "above 0"),
    ],
)
def test_a_mistake_is_told_and_no_password_with_it(config, said):
    with pytest.raises(ConfigError, match=said) as told:
        HttpSystem(**{"base_url": "http://host/v1", "model": "m", **config})
    assert KEY not in str(told.value)


# In an audit -----------------------------------------------------------------------------------


def test_what_waiting_takes_here_is_not_taken_for_what_the_server_does(tmp_path):
    (tmp_path / "prompts.txt").write_text("\n".join(f"grey {n}" for n in range(8)))
    with serving() as server:
        target = "harness.systems.http.HttpSystem"
        a = f"{{_target_: {target}, base_url: '{server.base_url}', model: m, batch: 2, "
        command = [
            "audit",
            *SMALL,
            f"suite.prompts={tmp_path / 'prompts.txt'}",
            f"+systems.a={a} parallel: 2, network: true, device: remote}}",
            "+systems.b={_target_: toy_systems.Toy, batch: 2}",
            "system=null",
            "candidate=a",
            "baseline=b",
            "claims=[energy-1000x,time-1000x]",
            f"out={tmp_path}",
            "name=r",
        ]
        assert cli.main(command) == 0
    run = tmp_path / "r"
    assert verify(run) == []
    rows = bundle.read_table(run, "windows")
    away = [row for row in rows if row["system"] == "a"]
    assert {row["kind"] for row in away} == {"load", "warmup", "block", "latency"}
    assert all(row["energy_j"] is None and row["cpu_s"] is None for row in away)
    assert all("served elsewhere" in row["reason"] for row in away if row["kind"] == "block")
    here = [row for row in rows if row["kind"] == "block" and row["system"] == "b"]
    assert all(row["energy_j"] > 0 and row["cpu_s"] is not None for row in here)
    verdicts = json.loads((run / "verdicts.json").read_text())
    ratios = {v["claim"]: v["evidence"][0] for v in verdicts if v["scope"] != "press"}
    assert {part["outcome"] for part in ratios.values()} == {"not_measured"}
    assert {part["estimate"] for part in ratios.values()} == {None}
    assert "served elsewhere" in ratios["energy-1000x"]["reason"]
    assert "where all the work runs on local CPUs" in ratios["time-1000x"]["reason"]
