"""Without a network nobody waits for the hub."""

import time

import pytest
from huggingface_hub import constants

import rome_widgets as rw
from rome_widgets.errors import ModelNotFound
from rome_widgets.model import hub


class Session:
    """Answers as a network does that is there, is not, or says nothing."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def head(self, url, timeout):
        self.asked.append(url)
        return self.answer()


def silence():
    time.sleep(5)


def nowhere():
    raise OSError("Name or service not known")


def answered():
    return type("Answer", (), {"status_code": 401})


@pytest.fixture
def network(monkeypatch):
    """Sets what the hub's client meets, and gives what it asks of it."""

    def meets(answer):
        session = Session(answer)
        monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: session)
        return session.asked

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "PATIENCE", 0.2)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    return meets


def test_the_hub_is_there_where_it_answers_anything(network, monkeypatch):
    network(answered)
    assert hub.reachable()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.reachable()


@pytest.mark.parametrize("answer", [silence, nowhere])
def test_without_a_network_the_hub_is_asked_once_and_not_again(network, answer):
    asked = network(answer)
    with pytest.raises(ModelNotFound, match=r"no model of this name in the hub's cache.*reached"):
        rw.load("nobody/no-such-model")
    assert len(asked) == 1


def test_a_model_in_the_cache_of_a_name_like_this_is_offered(network, tmp_path, monkeypatch):
    network(nowhere)
    (tmp_path / "models--openai--small").mkdir()
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelNotFound, match=r"Did you mean 'openai/small'\?"):
        rw.load("openai/smal")
