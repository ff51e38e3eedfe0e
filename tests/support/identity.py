"""An identity provider for tests: keys of its own, the JWKS that it publishes, and the tokens that it signs."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

ISSUER = "https://login.example/realms/crossfade"
AUDIENCE = "crossfade"

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def rsa_key(bits: int = 2048, number: int = 0) -> rsa.RSAPrivateKey:
    """Return a key that takes long to make; the same for the same number."""
    return rsa.generate_private_key(65537, bits)


def new_key(algorithm: str = "ES256") -> Private:
    """Return a new key for an algorithm."""
    if algorithm.startswith("ES"):
        curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
        return ec.generate_private_key(curves[algorithm])
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa_key()


class Issuer:
    """Signs tokens with its newest key. Attributes: `keys` by name, all of which it publishes."""

    def __init__(self, algorithm: str = "ES256", key: Private | None = None) -> None:
        self.algorithm = algorithm
        self.keys: dict[str, Private] = {"first": key or new_key(algorithm)}

    def rotate(self, kid: str) -> None:
        """Take a new key into use."""
        self.keys[kid] = new_key(self.algorithm)

    def jwk(self, kid: str) -> dict[str, Any]:
        """Return a public key as JWKS have it."""
        public = self.keys[kid].public_key()
        found: dict[str, Any] = json.loads(get_default_algorithms()[self.algorithm].to_jwk(public))
        return found | {"kid": kid, "use": "sig"}

    def jwks(self) -> dict[str, Any]:
        """Return what it publishes."""
        return {"keys": [self.jwk(kid) for kid in self.keys]}

    def publish(self, file: Path) -> Path:
        """Write the JWKS into a file, as a mount changes: at once."""
        new = file.with_suffix(".new")
        new.write_text(json.dumps(self.jwks()))
        return new.rename(file)

    def token(
        self,
        *roles: str,
        kid: str | None = None,
        algorithm: str = "",
        header: dict[str, Any] | None = None,
        **claims: Any,
    ) -> str:
        """Return a token that is good for a minute; a claim that is None is left out."""
        signer = kid if kid in self.keys else list(self.keys)[-1]
        said = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "ann",
            "exp": int(time.time()) + 60,
            "roles": list(roles),
        } | claims
        body = {name: value for name, value in said.items() if value is not None}
        headers = {"kid": signer if kid is None else kid} | (header or {})
        return jwt.encode(body, self.keys[signer], algorithm=algorithm or self.algorithm, headers=headers)
