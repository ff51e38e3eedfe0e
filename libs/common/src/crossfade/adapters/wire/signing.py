"""AWS Signature Version 4 for the two JSON services of the data plane.

Only what they need: POST to one path without a query, a body in memory, five signed headers. Property tests hold the
result equal to botocore's. Source: AWS, "Create a signed AWS API request" (SigV4).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import NamedTuple


class Credentials(NamedTuple):
    """One set of AWS keys; the token belongs to temporary ones."""

    access_key: str
    secret_key: str
    token: str | None = None

    def __repr__(self) -> str:
        """Name the key and nothing secret, so that no log or traceback can show it."""
        return f"Credentials(access_key={self.access_key!r})"


class Signer:
    """Signs requests to one endpoint; keeps the derived key for the day and the credentials."""

    def __init__(self, *, service: str, region: str, host: str, content_type: str) -> None:
        """Prepare the parts that all requests share.

        Args:
            service: the signing name, "dynamodb" or "kinesis".
            region: "eu-central-1".
            host: value of the host header, with the port where it isn't the scheme's own.
            content_type: of the request bodies.
        """
        self._service = service
        self._region = region
        self._canonical_start = f"POST\n/\n\ncontent-type:{content_type}\nhost:{host}\nx-amz-date:"
        self._head_start = f"POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: {content_type}\r\nx-amz-date: "
        self._key = b""
        self._key_of: tuple[str, Credentials] | None = None
        self._stamp = ""
        self._stamp_of = -1

    def sign(self, target: str, body: bytes, credentials: Credentials, now_s: float) -> bytes:
        """Return the head and body of a signed request, ready for the wire.

        Args:
            target: value of x-amz-target, "DynamoDB_20120810.GetItem".
            body: the JSON request.
            credentials: whose signature.
            now_s: the time to sign for, seconds since the epoch.
        """
        second = int(now_s)
        if second != self._stamp_of:
            self._stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
            self._stamp_of = second
        stamp = self._stamp
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        if credentials.token is None:
            token_line = token_header = ""
            signed = "content-type;host;x-amz-date;x-amz-target"
        else:
            token_line = f"x-amz-security-token:{credentials.token}\n"
            token_header = f"x-amz-security-token: {credentials.token}\r\n"
            signed = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target"
        canonical = (
            f"{self._canonical_start}{stamp}\n{token_line}x-amz-target:{target}\n\n{signed}\n"
            f"{hashlib.sha256(body).hexdigest()}"
        )
        to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_for(scope, credentials), to_sign.encode(), "sha256").hex()
        head = (
            f"{self._head_start}{stamp}\r\n{token_header}x-amz-target: {target}\r\n"
            f"authorization: AWS4-HMAC-SHA256 Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _key_for(self, scope: str, credentials: Credentials) -> bytes:
        if self._key_of != (scope, credentials):
            key = b"AWS4" + credentials.secret_key.encode()
            for part in scope.split("/"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._key_of = key, (scope, credentials)
        return self._key
