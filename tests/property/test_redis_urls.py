"""Whatever a password is: encoded, it arrives as it is; as it is, it arrives or is refused, and is never repeated."""

from __future__ import annotations

import traceback
from urllib.parse import quote

from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio import Redis

from crossfade.runtime.marks_settings import client_url

PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)
LONG_ENOUGH = 4
"""A shorter password may stand in a message by chance."""


def connects_to(url: str) -> tuple[str, int, object]:
    kwargs = Redis.from_url(url).connection_pool.connection_kwargs
    return kwargs["host"], kwargs.get("port", 6379), kwargs["password"]


def refusal_of(url: str) -> ValueError | None:
    try:
        client_url(url)
    except ValueError as error:
        return error
    return None


@given(PASSWORDS)
def test_an_encoded_password_is_taken_and_arrives(password: str) -> None:
    url = f"redis://:{quote(password, safe='')}@cache.example:6380/3"
    assert client_url(url) == url
    assert connects_to(url) == ("cache.example", 6380, password)


@given(PASSWORDS.filter(lambda password: "%" not in password))
@example("s3#cret")
@example("a@b?c=d")
@example("6379/0")
@example("6379?x")
@example("a\u2100b")
def test_a_password_that_is_not_encoded_arrives_as_it_is_or_is_refused_without_being_told(password: str) -> None:
    url = f"redis://:{password}@cache.example:6380/3"
    if (refusal := refusal_of(url)) is None:
        assert connects_to(url) == ("cache.example", 6380, password)
    else:
        assert len(password) < LONG_ENOUGH or password not in "".join(traceback.format_exception(refusal))
