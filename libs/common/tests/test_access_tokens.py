"""Bearer tokens: what is taken, and each kind of broken one, refused with what is wrong and never with the token."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.runtime.access import ByToken, Rules
from crossfade.runtime.http import Answer, Door, Request, anyone, operator, told, viewer
from crossfade.runtime.jwks import Keys
from crossfade.runtime.roles import Certificates
from identity import AUDIENCE, ISSUER, Issuer, new_key, rsa_key

OPERATOR, VIEWER = "crossfade-operator", "crossfade-viewer"
RULES = Rules(ISSUER, AUDIENCE, "roles", frozenset({VIEWER}), frozenset({OPERATOR}), "sub")
NO_TLS = Certificates(frozenset(), tls=False)


async def who(request: Request) -> Answer:
    return told({"who": request.who, "role": request.role.name})


ROUTES = {"GET /seen": viewer(who), "POST /done": operator(who), "GET /healthz": anyone(who)}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


class Asked:
    """A door that wants tokens of an issuer."""

    def __init__(self, file: Path, rules: Rules = RULES, certificates: Certificates = NO_TLS) -> None:
        keys = Keys(str(file), clock=MemoryClock(), refresh_s=60, keep_s=600)
        self.door = Door(ROUTES, access=ByToken(rules, keys, certificates, clock=SYSTEM))

    async def __call__(self, route: str, token: str | None, *, certificate: str = "") -> Answer:
        method, _, path = route.partition(" ")
        headers = {"host": "localhost", "content-type": "application/json"}
        if token is not None:
            headers["authorization"] = token if token.startswith("Basic") else f"Bearer {token}"
        return await self.door.answer(Request(method, path, headers, who=certificate))


@pytest.fixture
def asked(issuer: Issuer, tmp_path: Path) -> Asked:
    return Asked(issuer.publish(tmp_path / "jwks.json"))


def message(answer: Answer) -> str:
    return str(json.loads(answer.body)["error"]["message"])


# ---- what is taken ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "seen", "done"),
    [([OPERATOR], 200, 200), ([VIEWER], 200, 403), (["somebody-else's"], 403, 403), ([], 403, 403)],
)
async def test_a_token_has_the_role_that_its_claim_names(
    issuer: Issuer, asked: Asked, roles: list[str], seen: int, done: int
) -> None:
    token = issuer.token(*roles)
    answers = [await asked(route, token) for route in ("GET /healthz", "GET /seen", "POST /done")]
    assert [each.status for each in answers] == [200, seen, done]
    if seen == 200:
        assert json.loads(answers[1].body)["who"] == "ann"
    if done == 403:
        assert message(answers[2]).startswith("POST /done needs the role operator; ann ")
        assert f"the token's claim roles has {roles[0] if roles else 'nothing'}; CROSSFADE_OPERATOR_ROLES" in message(
            answers[2]
        )
        assert 'error="insufficient_scope", scope="operator"' in answers[2].headers["WWW-Authenticate"]


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "ES512", "EdDSA", "RS256", "RS512", "PS256"])
async def test_each_algorithm_whose_verifier_can_not_sign_is_taken(algorithm: str, tmp_path: Path) -> None:
    issuer = Issuer(algorithm)
    answer = await Asked(issuer.publish(tmp_path / "jwks.json"))("GET /seen", issuer.token(VIEWER))
    assert answer.status == 200


@pytest.mark.parametrize(
    ("claim", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": [VIEWER, "offline_access"]}}),
        ("https://crossfade.example/roles", {"https://crossfade.example/roles": [VIEWER]}),
        ("resource_access.crossfade.roles", {"resource_access": {"crossfade": {"roles": [VIEWER]}}}),
        ("scope", {"scope": f"openid {VIEWER}"}),
        ("role", {"role": VIEWER}),
    ],
)
async def test_roles_are_found_where_issuers_put_them(
    issuer: Issuer, tmp_path: Path, claim: str, claims: dict[str, Any]
) -> None:
    asked = Asked(issuer.publish(tmp_path / "jwks.json"), RULES._replace(roles_claim=claim))
    assert (await asked("GET /seen", issuer.token(**claims))).status == 200
    assert (await asked("POST /done", issuer.token(**claims))).status == 403
    assert (await asked("GET /seen", issuer.token(VIEWER))).status == 403  # its roles are elsewhere


async def test_only_a_scope_is_split_at_blanks(issuer: Issuer, tmp_path: Path) -> None:
    """Whoever may choose their own name could otherwise choose a role with it."""
    rules = RULES._replace(roles_claim="sub", operators=frozenset({"controller"}))
    asked = Asked(issuer.publish(tmp_path / "jwks.json"), rules)
    assert (await asked("POST /done", issuer.token(sub="mallory controller"))).status == 403
    assert (await asked("POST /done", issuer.token(sub="controller"))).status == 200


async def test_the_name_is_taken_from_the_claim_that_is_set(issuer: Issuer, tmp_path: Path) -> None:
    asked = Asked(issuer.publish(tmp_path / "jwks.json"), RULES._replace(name_claim="email"))
    answer = await asked("GET /seen", issuer.token(VIEWER, email="ann@example.com"))
    assert json.loads(answer.body)["who"] == "ann@example.com"
    assert (await asked("GET /seen", issuer.token(VIEWER))).status == 401


# ---- what is refused -------------------------------------------------------------------------------


def _unsigned(issuer: Issuer) -> str:
    return jwt.encode(jwt.decode(issuer.token(OPERATOR), options={"verify_signature": False}), "", algorithm="none")


def _signed_with_the_public_key(issuer: Issuer) -> str:
    """The old confusion: HS256, with the public key's text as the secret."""
    public = issuer.keys["first"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    header, body, _ = issuer.token(OPERATOR).split(".")
    header = _spelled({"alg": "HS256", "typ": "JWT", "kid": "first"})
    return f"{header}.{body}." + _base64(hmac.digest(pem, f"{header}.{body}".encode(), hashlib.sha256))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _spelled(value: object) -> str:
    return _base64(json.dumps(value).encode())


def _changed(issuer: Issuer) -> str:
    header, body, signature = issuer.token(VIEWER).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    return f"{header}.{_spelled(claims | {'roles': [OPERATOR]})}.{signature}"


def _of_another_key(issuer: Issuer) -> str:
    return Issuer().token(OPERATOR)  # it calls its key "first", too


def _header(value: object) -> Callable[[Issuer], str]:
    return lambda issuer: ".".join([_spelled(value), *issuer.token(OPERATOR).split(".")[1:]])


BROKEN: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "expired": (lambda i: i.token(OPERATOR, exp=int(time.time()) - 90), "the token has been expired since 20"),
    "expired in 1970, for another": (
        lambda i: i.token(OPERATOR, exp=1, aud="billing"),
        "expired since 1970-01-01T00:00:01",
    ),
    "expired before all calendars": (lambda i: i.token(OPERATOR, exp=-(10**15)), "expired since before all calendars"),
    "never expires": (lambda i: i.token(OPERATOR, exp=None), "has no claim exp"),
    "expires at a word": (lambda i: i.token(OPERATOR, exp="soon"), "a claim or a header has the wrong type"),
    "not yet": (lambda i: i.token(OPERATOR, nbf=int(time.time()) + 90), "isn't valid yet"),
    "issued in the future": (lambda i: i.token(OPERATOR, iat=int(time.time()) + 90), "isn't valid yet"),
    "another audience": (lambda i: i.token(OPERATOR, aud="billing"), f"another audience than {AUDIENCE}"),
    "no audience": (lambda i: i.token(OPERATOR, aud=None), "has no claim aud"),
    "another issuer": (lambda i: i.token(OPERATOR, iss=f"{ISSUER}/"), f"isn't from the issuer {ISSUER}"),
    "no issuer": (lambda i: i.token(OPERATOR, iss=None), "has no claim iss"),
    "nobody": (lambda i: i.token(OPERATOR, sub=None), "claim sub names nobody"),
    "a name of blanks": (lambda i: i.token(OPERATOR, sub=" "), "claim sub names nobody"),
    "a name that forges a line": (lambda i: i.token(OPERATOR, sub="ann\nbob"), "claim sub names nobody"),
    "a name that is a number": (lambda i: i.token(OPERATOR, sub=7), "wrong type"),
    "unknown key": (lambda i: i.token(OPERATOR, kid="second"), "unknown key: key 'second' for ES256 isn't in the JWKS"),
    "a key of another algorithm": (
        lambda i: Issuer("ES384").token(OPERATOR, kid="first"),
        "unknown key: key 'first' for ES384",
    ),
    "signed by somebody else": (_of_another_key, "signature doesn't fit"),
    "claims that were changed": (_changed, "signature doesn't fit"),
    "cut": (lambda i: i.token(OPERATOR)[:-2], "signature doesn't fit|isn't a signed JWT"),
    "unsigned": (_unsigned, "signed by 'none'"),
    "signed with the public key": (_signed_with_the_public_key, "signed by 'HS256'"),
    "an algorithm that is a list": (_header({"alg": ["ES256"], "kid": "first"}), "signed by|isn't a signed JWT"),
    "a critical extension": (_header({"alg": "ES256", "kid": "first", "crit": ["x"], "x": 1}), "isn't a signed JWT"),
    "a detached payload": (
        _header({"alg": "ES256", "kid": "first", "crit": ["b64"], "b64": False}),
        "isn't a signed JWT",
    ),
    "no header": (_header([]), "isn't a signed JWT"),
    "no token": (lambda _: "", "isn't a signed JWT"),
    "a word": (lambda _: "hushhush", "isn't a signed JWT"),
    "two words": (lambda i: i.token(OPERATOR) + " x", "isn't a signed JWT|signature doesn't fit"),
    "a password": (lambda _: "Basic " + base64.b64encode(b"ann:hushhush").decode(), "must be Bearer TOKEN"),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_a_broken_token_is_refused_with_what_is_wrong_and_without_the_token(
    kind: str, issuer: Issuer, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, why = BROKEN[kind]
    token = broken(issuer)
    answer = await asked("GET /seen", token)
    assert answer.status == 401
    assert any(each in message(answer) for each in why.split("|")), message(answer)
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="crossfade", error="invalid_token", error_description="')
    assert challenge.isascii()
    assert challenge.count('"') == 6
    said = answer.body.decode() + challenge + "".join(capsys.readouterr())
    assert not [part for part in token.split(".") if len(part) > 10 and part in said]
    assert "hushhush" not in said


async def test_a_good_token_is_taken_beside_each_broken_one(issuer: Issuer, asked: Asked) -> None:
    for broken, _ in BROKEN.values():
        await asked("GET /seen", broken(issuer))
    assert (await asked("POST /done", issuer.token(OPERATOR))).status == 200


async def test_clocks_may_differ_by_half_a_minute(issuer: Issuer, asked: Asked) -> None:
    now_s = int(time.time())
    several: list[dict[str, Any]] = [{"exp": now_s - 15}, {"nbf": now_s + 15}, {"iat": now_s + 15}]
    for claims in several:
        assert (await asked("GET /seen", issuer.token(VIEWER, **claims))).status == 200


async def test_without_a_token_the_answer_says_how_to_send_one(asked: Asked) -> None:
    answer = await asked("GET /seen", None)
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="crossfade"')
    assert "Authorization: Bearer TOKEN" in message(answer)
    assert (await asked("GET /healthz", None)).status == 200


# ---- tokens and certificates -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("certificate", "roles", "status"),
    [
        ("ann", None, 200),  # her certificate is enough
        ("replicator", None, 403),
        ("replicator", [OPERATOR], 200),
        ("ann", [VIEWER], 403),  # a token that was sent decides: a console passes on its users'
    ],
)
async def test_by_tls_a_token_decides_and_a_certificate_is_enough(
    issuer: Issuer, tmp_path: Path, certificate: str, roles: list[str] | None, status: int
) -> None:
    asked = Asked(issuer.publish(tmp_path / "jwks.json"), certificates=Certificates(frozenset({"ann"}), tls=True))
    token = None if roles is None else issuer.token(*roles)
    assert (await asked("POST /done", token, certificate=certificate)).status == status
    assert (await asked("GET /seen", issuer.token(VIEWER, exp=1), certificate="ann")).status == 401


# ---- keys that aren't trusted ----------------------------------------------------------------------


def _private(issuer: Issuer) -> dict[str, Any]:
    from jwt.algorithms import ECAlgorithm

    return dict(json.loads(ECAlgorithm.to_jwk(issuer.keys["first"]))) | {"kid": "first"}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "jwk",
    [
        {"use": "enc"},
        {"alg": "ES384"},
        {"kid": 7},
        {"kty": "EC", "crv": "secp256k1"},
        {"x": "AAAA"},
    ],
)
async def test_a_key_for_something_else_verifies_nothing(issuer: Issuer, tmp_path: Path, jwk: dict[str, Any]) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [issuer.jwk("first") | jwk, "no key", {}]}))
    assert "unknown key" in message(await Asked(file)("GET /seen", issuer.token(VIEWER)))


async def test_a_private_key_that_was_published_verifies_nothing(issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [_private(issuer)]}))
    assert "unknown key" in message(await Asked(file)("GET /seen", issuer.token(VIEWER)))


@pytest.mark.parametrize("bits", [1024])
async def test_a_short_key_of_rsa_verifies_nothing(bits: int, tmp_path: Path) -> None:
    issuer = Issuer("RS256", rsa_key(bits))
    answer = await Asked(issuer.publish(tmp_path / "jwks.json"))("GET /seen", issuer.token(VIEWER))
    assert "unknown key" in message(answer)


async def test_a_token_that_names_no_key_needs_one_that_is_alone(issuer: Issuer, tmp_path: Path) -> None:
    file = issuer.publish(tmp_path / "jwks.json")
    asked = Asked(file)
    token = _unnamed(issuer)
    assert (await asked("GET /seen", token)).status == 200
    issuer.keys["second"] = new_key()
    issuer.publish(file)
    assert "doesn't name its key (kid), and 2 could have signed it" in message(await asked("GET /seen", token))


def _unnamed(issuer: Issuer) -> str:
    claims = jwt.decode(issuer.token(VIEWER), options={"verify_signature": False})
    return jwt.encode(claims, issuer.keys["first"], algorithm=issuer.algorithm)
