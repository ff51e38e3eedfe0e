"""The own SigV4 says what botocore's says, byte for byte, whatever is signed."""

from __future__ import annotations

import time

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreKeys
from hypothesis import given
from hypothesis import strategies as st

from crossfade.adapters.wire.client import SERVICES, WireConfig, endpoint_of
from crossfade.adapters.wire.signing import Credentials, Signer

VISIBLE = st.characters(min_codepoint=33, max_codepoint=126)
KEYS = st.builds(
    Credentials,
    access_key=st.text(st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), min_size=16, max_size=24),
    secret_key=st.text(VISIBLE, min_size=1, max_size=64),
    token=st.none() | st.text(VISIBLE, min_size=1, max_size=400),
)
ENDPOINTS = st.none() | st.builds(
    lambda scheme, host, port: f"{scheme}://{host}" + ("" if port is None else f":{port}"),
    st.sampled_from(["http", "https"]),
    st.sampled_from(
        ["127.0.0.1", "[::1]", "localhost", "Dynamo.Internal.example", "vpce-1.dynamodb.eu-west-1.vpce.example"]
    ),
    st.none() | st.sampled_from([80, 443, 8000]) | st.integers(1, 65535),
)
REGIONS = st.sampled_from(["us-east-1", "eu-central-1", "ap-southeast-2", "us-gov-west-1"])
TIMES = st.floats(min_value=0, max_value=4_102_444_800)
CALLS = st.tuples(st.text(st.sampled_from("ABCDEFGHIJKabcdefghijk"), min_size=1, max_size=30), st.binary(max_size=3000))


def parse(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


def botocores(
    url: str, sent: dict[str, str], body: bytes, keys: Credentials, service: str, region: str, now_s: float
) -> str:
    auth = SigV4Auth(BotocoreKeys(keys.access_key, keys.secret_key, keys.token), service, region)
    unsigned = {name: sent[name] for name in ("content-type", "x-amz-target")}
    request = AWSRequest("POST", url, headers=unsigned, data=body)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
    request.context["timestamp"] = stamp
    request.headers["X-Amz-Date"] = stamp
    if keys.token is not None:
        request.headers["X-Amz-Security-Token"] = keys.token
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return (
        f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, "
        f"SignedHeaders={auth.signed_headers(auth.headers_to_sign(request))}, Signature={signature}"
    )


@given(
    service=st.sampled_from(sorted(SERVICES)),
    region=REGIONS,
    endpoint_url=ENDPOINTS,
    calls=st.lists(st.tuples(CALLS, KEYS, TIMES), min_size=1, max_size=4),
)
def test_one_signer_equals_botocore_through_changing_keys_days_operations_and_bodies(
    service: str, region: str, endpoint_url: str | None, calls: list[tuple[tuple[str, bytes], Credentials, float]]
) -> None:
    config = WireConfig(region, endpoint_url)
    endpoint = endpoint_of(service, config)
    target_start, content_type = SERVICES[service]
    signer = Signer(service=service, region=region, host=endpoint.host_header, content_type=content_type)
    url = (endpoint_url or f"https://{service}.{region}.amazonaws.com") + "/"
    for (operation, body), keys, now_s in calls:
        first, sent, sent_body = parse(signer.sign(target_start + operation, body, keys, now_s))
        assert first == "POST / HTTP/1.1"
        assert sent_body == body
        assert sent["content-length"] == str(len(body))
        assert sent.get("x-amz-security-token") == keys.token
        assert sent["authorization"] == botocores(url, sent, body, keys, service, region, now_s)


@given(first=KEYS, second=KEYS, now_s=TIMES)
def test_a_signer_that_has_signed_for_others_signs_as_a_new_one(
    first: Credentials, second: Credentials, now_s: float
) -> None:
    def new() -> Signer:
        return Signer(service="dynamodb", region="us-east-1", host="h", content_type="t")

    used = new()
    used.sign("X.Y", b"{}", first, now_s)
    used.sign("X.Y", b"{}", second, now_s + 86_400)
    assert used.sign("X.Y", b"{}", second, now_s) == new().sign("X.Y", b"{}", second, now_s)


def test_credentials_never_show_their_secret() -> None:
    keys = Credentials("AKID", "very-secret", "very-token")
    assert "very" not in f"{keys} {keys!r} {[keys]}"
