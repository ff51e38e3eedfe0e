"""Design, section 8: beyond loopback a service listens with mutual TLS, or by the word that it needs none."""

from __future__ import annotations

import os
from typing import Any

import pytest

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.settings import PREFIX, ListeningSettings, ServiceSettings, read_settings
from crossfade_controller.settings import ControllerSettings
from crossfade_verifier.settings import Settings as VerifierSettings
from engagement_api.settings import Settings as ApiSettings

LISTENING: list[type[ListeningSettings]] = [ApiSettings, ControllerSettings, VerifierSettings]
EVERYWHERE = ".".join(["0"] * 4)
TLS = {"tls_cert_file": "/tls/tls.crt", "tls_key_file": "/tls/tls.key", "tls_client_ca_file": "/tls/ca.crt"}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("cls", LISTENING)
@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.1.2.3", "example.org"])
def test_an_address_beyond_loopback_is_refused_with_the_cure(cls: type[ListeningSettings], host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(cls, host=host)
    said = str(caught.value)
    assert said.startswith("CROSSFADE_HOST: ")
    assert "CROSSFADE_TLS_CERT_FILE" in said
    assert "CROSSFADE_INSECURE=1" in said


@pytest.mark.parametrize("cls", LISTENING)
@pytest.mark.parametrize("more", [TLS, {"insecure": True}])
def test_an_address_beyond_loopback_is_taken_with_tls_or_by_word(
    cls: type[ListeningSettings], more: dict[str, Any]
) -> None:
    settings = read_settings(cls, host=EVERYWHERE, **more)
    assert settings.host == EVERYWHERE
    assert (settings.tls is not None) == (more is TLS)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_loopback_needs_nothing(host: str) -> None:
    assert read_settings(ListeningSettings, host=host).tls is None


@pytest.mark.parametrize("missing", TLS)
@pytest.mark.parametrize("insecure", [False, True])
def test_the_three_files_of_tls_go_together(missing: str, insecure: bool) -> None:
    """Two of them would mean TLS that asks nobody for a certificate, or none at all."""
    given: dict[str, Any] = {name: value for name, value in TLS.items() if name != missing}
    with pytest.raises(ConfigError, match="go together"):
        read_settings(ListeningSettings, host=EVERYWHERE, insecure=insecure, **given)


def test_without_the_word_a_wrong_word_does_not_open_anything() -> None:
    with pytest.raises(ConfigError, match="CROSSFADE_HOST: "):
        read_settings(ListeningSettings, host=EVERYWHERE, insecure="perhaps")


def test_the_health_page_is_off_until_a_port_is_named() -> None:
    assert read_settings(ServiceSettings).health_address is None
    assert read_settings(ServiceSettings, health_port=8081).health_address == (
        "127.0.0.1",
        8081,
        "CROSSFADE_HEALTH_PORT",
    )


@pytest.mark.parametrize("reference", ["flags", "ns/flags", "ns/flags.v1"])
def test_a_config_map_is_named_with_or_without_its_namespace(reference: str) -> None:
    assert read_settings(ControllerSettings, flag_config_map=reference).flag_config_map == reference


@pytest.mark.parametrize("reference", ["a/b/c", "Flags", "../x", "flags?x"])
def test_what_is_no_config_map_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="CROSSFADE_FLAG_CONFIG_MAP"):
        read_settings(ControllerSettings, flag_config_map=reference)
