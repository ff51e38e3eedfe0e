"""Finds out who asks at a door, and what they may do; ADR 0039 has the table of all cases.

a token                 what its claims say, if it is good; whatever the certificate says
a certificate           an operator's if CROSSFADE_OPERATORS names it, else a viewer's
neither                 with CROSSFADE_JWKS nobody; without it an operator: the machine has one user
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple, NoReturn

import jwt

from crossfade.ports.clock import Clock
from crossfade.runtime.access_settings import GuardedSettings
from crossfade.runtime.http import Access, HttpRefused
from crossfade.runtime.jwks import ALGORITHMS, Keys, KeysUnavailable, UnknownKey
from crossfade.runtime.roles import Caller, Certificates, Role

LEEWAY_S: Final = 30
"""How far the issuer's clock and ours may differ."""

REALM: Final = 'Bearer realm="crossfade"'
SPLIT: Final = frozenset({"scope", "scp"})
"""Claims that list names in one string (RFC 8693, section 4.2)."""

LONGEST: Final = 400
"""Of a name or a list of roles that is repeated; a service account's name may be that long."""


class ByCertificate:
    """Asks nothing but the certificate."""

    def __init__(self, certificates: Certificates) -> None:
        self._certificates = certificates

    async def caller(self, certificate: str, authorization: str | None) -> Caller:  # noqa: ARG002 - of the protocol
        """See `crossfade.runtime.http.Access`."""
        return self._certificates.caller(certificate)


class Rules(NamedTuple):
    """What a token must say.

    Attributes:
        issuer: its `iss`.
        audience: in its `aud`.
        roles_claim: where its roles are; dots lead into objects.
        viewers: names there that make a viewer.
        operators: names there that make an operator.
        name_claim: where the name of its bearer is.
    """

    issuer: str
    audience: str
    roles_claim: str
    viewers: frozenset[str]
    operators: frozenset[str]
    name_claim: str


class ByToken:
    """Asks for a bearer token (RFC 6750), a JWT; by TLS a certificate will do, too."""

    def __init__(self, rules: Rules, keys: Keys, certificates: Certificates, *, clock: Clock) -> None:
        """Take by what a token is judged.

        Args:
            rules: what it must say.
            keys: what it must be signed with.
            certificates: judge requests by TLS that have no token.
            clock: what refusals call now.
        """
        self._rules, self._keys, self._certificates, self._clock = rules, keys, certificates, clock

    async def caller(self, certificate: str, authorization: str | None) -> Caller:
        """See `crossfade.runtime.http.Access`."""
        if authorization is None:
            if self._certificates.tls:
                return self._certificates.caller(certificate)
            refused = "send a token: Authorization: Bearer TOKEN; `crossfade` takes it from CROSSFADE_TOKEN_FILE"
            raise HttpRefused(HTTPStatus.UNAUTHORIZED, "no_token", refused, {"WWW-Authenticate": REALM})
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            _refuse("Authorization must be Bearer TOKEN")
        claims = await self._claims(token.strip())
        who = claims.get(self._rules.name_claim)
        if not (isinstance(who, str) and who.isprintable() and who.strip()):
            _refuse(f"the token's claim {self._rules.name_claim} names nobody (CROSSFADE_NAME_CLAIM)")
        return self._with_role(who[:LONGEST], set(names_in(claims, self._rules.roles_claim)))

    def _with_role(self, who: str, names: set[str]) -> Caller:
        rules = self._rules
        if names & rules.operators:
            return Caller(who, Role.OPERATOR)
        listed = ", ".join(sorted(names))[:LONGEST] or "nothing"
        how = f"the token's claim {rules.roles_claim} has {listed}; CROSSFADE_OPERATOR_ROLES and CROSSFADE_VIEWER_ROLES"
        return Caller(who, Role.VIEWER if names & rules.viewers else Role.ANYONE, f"{how} name what makes a role")

    async def _claims(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.InvalidTokenError:
            _refuse("the token isn't a signed JWT")
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
            _refuse(
                f"the token is signed by {str(algorithm)[:20]!r}, and must be by one of {', '.join(sorted(ALGORITHMS))}"
            )
        try:
            key = await self._keys.find(kid, algorithm)
        except UnknownKey as error:
            _refuse(f"unknown key: {error}")
        except KeysUnavailable as error:
            raise HttpRefused(HTTPStatus.SERVICE_UNAVAILABLE, "keys_unavailable", str(error)) from error
        return self._verified(token, key, algorithm)

    def _verified(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        rules = self._rules
        try:
            return _decoded(token, key, algorithm, rules)
        except jwt.ExpiredSignatureError:  # by now the signature is known to be good
            exp = int(jwt.decode(token, options={"verify_signature": False})["exp"])
            _refuse(f"the token has been expired since {_moment(exp)}: get a new one")
        except jwt.ImmatureSignatureError:
            _refuse(f"the token isn't valid yet (nbf or iat), by our clock, {_moment(self._clock.wall_us() / 1e6)}")
        except jwt.MissingRequiredClaimError as error:
            _refuse(f"the token has no claim {error.claim}")
        except jwt.InvalidIssuerError:
            _refuse(f"the token isn't from the issuer {rules.issuer} (CROSSFADE_TOKEN_ISSUER)")
        except jwt.InvalidAudienceError:
            _refuse(f"the token is for another audience than {rules.audience} (CROSSFADE_TOKEN_AUDIENCE)")
        except jwt.InvalidSignatureError:
            _refuse("the token's signature doesn't fit the key that it names")
        except jwt.PyJWTError:
            _refuse("the token can't be read: a claim or a header has the wrong type")


def _decoded(token: str, key: jwt.PyJWK, algorithm: str, rules: Rules) -> dict[str, Any]:
    return jwt.decode(
        token,
        key,
        algorithms=[algorithm],
        options={"require": ["exp", "iss", "aud"]},
        issuer=rules.issuer,
        audience=rules.audience,
        leeway=LEEWAY_S,
    )


def _moment(at_s: float) -> str:
    try:
        return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "before all calendars"


def _refuse(message: str) -> NoReturn:
    """Refuse a token. The message has nothing of it but names of keys, algorithms and roles."""
    quoted = "".join(each if " " <= each <= "~" and each not in '"\\' else "'" for each in message)
    headers = {"WWW-Authenticate": f'{REALM}, error="invalid_token", error_description="{quoted}"'}
    raise HttpRefused(HTTPStatus.UNAUTHORIZED, "invalid_token", message, headers)


def names_in(claims: dict[str, Any], path: str) -> Iterator[str]:
    """Yield the names that a claim lists: a list of strings, or one string.

    Args:
        claims: of a token.
        path: the claim's name; if there is none of this name, its dots lead into objects.
    """
    if path not in claims:
        head, dot, rest = path.partition(".")
        inner = claims.get(head)
        if dot and isinstance(inner, dict):
            yield from names_in(inner, rest)
        return
    found = claims[path]
    if isinstance(found, str):
        yield from found.split() if path in SPLIT else [found]
    elif isinstance(found, list):
        yield from (each for each in found if isinstance(each, str))


def access_of(settings: GuardedSettings, clock: Clock) -> Access:
    """Return what finds out who asks at a service's door, with the clock of its process."""
    certificates = Certificates(frozenset(settings.operators), settings.tls is not None)
    if not settings.jwks:
        return ByCertificate(certificates)
    rules = Rules(
        settings.token_issuer,
        settings.token_audience,
        settings.roles_claim,
        frozenset(settings.viewer_roles),
        frozenset(settings.operator_roles),
        settings.name_claim,
    )
    keys = Keys(settings.jwks, clock=clock, refresh_s=settings.jwks_refresh_s, keep_s=settings.jwks_keep_s)
    return ByToken(rules, keys, certificates, clock=clock)
