"""The token that we show: from a setting or a file that somebody renews, never in a message, never in the clear."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.http_client import Bearer, call_json
from crossfade.runtime.settings import read_settings
from crossfade_controller.settings import ControllerSettings
from crossfade_verifier.settings import Settings as VerifierSettings

URL = "https://verifier.example/parity"
SECRET = "hush.hush.hush"


def test_a_file_is_read_before_each_call(tmp_path: Path) -> None:
    file = tmp_path / "token"
    bearer = read_settings(ControllerSettings, token_file=file).bearer
    for token in ("one.of.them", "another.of.them"):
        file.write_text(f"{token}\n")
        assert bearer.headers(URL) == [("Authorization", f"Bearer {token}")]


def test_without_a_token_nothing_is_shown() -> None:
    assert read_settings(ControllerSettings).bearer.headers(URL) == []
    assert Bearer().headers("http://verifier.example") == []


@pytest.mark.parametrize("content", [None, "", " \n", "two words", "Grüße", "a\nb", b"\xff"])
async def test_a_file_that_has_no_token_is_named_and_not_quoted(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=f"CROSSFADE_TOKEN_FILE={file}: ") as error:
        await call_json("http://127.0.0.1:1/parity", bearer=Bearer(file=file))
    said = str(error.value).partition(f"{file}: ")[2]
    assert not any(each in said for each in ("two words", "Grüße", "a\nb"))


@pytest.mark.parametrize(
    ("url", "plain", "sent"),
    [
        ("http://127.0.0.1:1", False, True),
        ("http://localhost:1", False, True),
        ("https://verifier.example", False, True),
        ("http://verifier.example", False, False),
        ("http://verifier.example", True, True),
    ],
)
def test_a_token_is_not_sent_where_others_could_read_it(url: str, plain: bool, sent: bool) -> None:
    bearer = Bearer(SECRET, plain=plain)
    if sent:
        assert bearer.headers(url)
    else:
        with pytest.raises(ConfigError, match="a token is sent by https only"):
            bearer.headers(url)


def test_a_token_is_in_no_text_about_settings(tmp_path: Path) -> None:
    settings = read_settings(ControllerSettings, token=SECRET)
    assert settings.bearer.headers(URL) == [("Authorization", f"Bearer {SECRET}")]
    assert SECRET not in f"{settings!r}{settings}{settings.bearer!r}{settings.model_dump()}"
    with pytest.raises(ConfigError, match="CROSSFADE_TOKEN and CROSSFADE_TOKEN_FILE: set one of them") as error:
        read_settings(ControllerSettings, token=SECRET, token_file=tmp_path)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, ["CROSSFADE_TOKEN_ISSUER", "CROSSFADE_TOKEN_AUDIENCE"]),
        ({"token_issuer": "https://login.example"}, ["CROSSFADE_TOKEN_AUDIENCE"]),
        ({"token_audience": "crossfade"}, ["CROSSFADE_TOKEN_ISSUER"]),
    ],
)
def test_keys_without_issuer_and_audience_are_refused(given: dict[str, str], missing: list[str]) -> None:
    """Or a token that the same issuer made for another service would open this one."""
    with pytest.raises(ConfigError, match="would open this one") as error:
        read_settings(VerifierSettings, jwks="https://login.example/jwks", **given)
    assert all(name in str(error.value) for name in missing)
