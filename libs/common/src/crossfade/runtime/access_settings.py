"""Settings of who may ask at a door, and of what we show at others' (ADR 0039)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.http_client import Bearer, is_token
from crossfade.runtime.settings import ListeningSettings, ServiceSettings
from crossfade.runtime.urls import HTTP_SCHEMES, LOOPBACK, http_url

WORD: Final = r"^[!-~]{0,512}$"


class GuardedSettings(ListeningSettings):
    """Settings of a service whose door has routes for viewers and for operators."""

    operators: list[str] = Field(
        [],
        description="Names (common names) of the certificates that may give commands, a JSON list; the others may "
        'only look. ["*"] allows every certificate of the authority.',
    )
    jwks: str = Field(
        "",
        description="Where the public keys of bearer tokens are, a JWKS: an https:// address or a file. Without it, "
        "tokens are ignored.",
    )
    token_issuer: str = Field(
        "", pattern=WORD, description="Who must have issued a token: its claim `iss`, letter by letter."
    )
    token_audience: str = Field("", pattern=WORD, description="Whom a token must be for: one of its claim `aud`.")
    roles_claim: str = Field(
        "roles",
        min_length=1,
        description="Claim that lists a token's roles; dots lead into objects: realm_access.roles. `scope` and `scp` "
        "are split at blanks.",
    )
    viewer_roles: list[str] = Field(
        ["crossfade-viewer"], description="Names in that claim that make a viewer, a JSON list."
    )
    operator_roles: list[str] = Field(
        ["crossfade-operator"], description="Names in that claim that make an operator, a JSON list."
    )
    name_claim: str = Field(
        "sub",
        min_length=1,
        description="Claim that names who asks, as the journal will have it. Choose one that its bearer can't change.",
    )
    jwks_refresh_s: float = Field(
        60.0, ge=1, description="How often the keys are read; one that was withdrawn counts for so long."
    )
    jwks_keep_s: float = Field(
        3600.0, ge=0, description="How long the last keys count while the JWKS can't be read; then no token does."
    )

    @field_validator("jwks")
    @classmethod
    def _reachable(cls, value: str, info: ValidationInfo) -> str:
        if not value or not is_url(value):
            return value
        http_url(value.partition("?")[0])
        parts = urlsplit(value)
        if parts.scheme == "http" and parts.hostname not in LOOPBACK and not info.data.get("insecure"):
            raise ValueError("must be https: whoever can change the keys on their way makes tokens of their own")
        return value

    @model_validator(mode="after")
    def _whose_tokens(self) -> Self:
        named = {"CROSSFADE_TOKEN_ISSUER": self.token_issuer, "CROSSFADE_TOKEN_AUDIENCE": self.token_audience}
        missing = [name for name, value in named.items() if not value]
        if self.jwks and missing:
            raise ValueError(
                f"{' and '.join(missing)}: needed with CROSSFADE_JWKS, or a token that was issued for another service "
                "would open this one"
            )
        return self

    def checks(self) -> Iterator[Callable[[], object]]:
        """See `ServiceSettings.checks`."""
        yield from super().checks()
        if self.jwks and not is_url(self.jwks):
            yield self._check_keys

    def _check_keys(self) -> None:
        from crossfade.runtime.jwks import read_keys  # its libraries are slow to import

        try:
            read_keys(Path(self.jwks).read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"CROSSFADE_JWKS={self.jwks}: {error}") from error


class AskingSettings(ServiceSettings):
    """Settings of a program that asks at doors where tokens are wanted."""

    token: SecretStr | None = Field(
        None, description="Bearer token that is shown at doors; a file is better, since it can be renewed."
    )
    token_file: Path | None = Field(None, description="File with that token; it is read before each call.")

    @field_validator("token")
    @classmethod
    def _one_word(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_token(value.get_secret_value()):
            raise ValueError("a token is one word of printable ASCII")
        return value

    @model_validator(mode="after")
    def _one_token(self) -> Self:
        if self.token_file is not None and self.token is not None:
            raise ValueError("CROSSFADE_TOKEN and CROSSFADE_TOKEN_FILE: set one of them")
        return self

    @property
    def bearer(self) -> Bearer:
        """What is shown at doors."""
        return Bearer(self.token.get_secret_value() if self.token else "", self.token_file, plain=self.insecure)

    def checks(self) -> Iterator[Callable[[], object]]:
        """See `ServiceSettings.checks`."""
        yield from super().checks()
        yield self.bearer.read


def is_url(jwks: str) -> bool:
    """Say whether a JWKS is fetched; else it is a file."""
    return jwks.startswith(tuple(f"{each}://" for each in HTTP_SCHEMES))
