"""The keys of engagement wallets, which the API makes; the same values in either table."""

from __future__ import annotations

import json
from typing import Final

from crossfade.core.values.keys import Key, key_of_strings

USER: Final = "USER#"
POINTS: Final = "POINTS#"


def wallet_key(user: str, channel: str) -> Key:
    """Return the encoded key of a user's wallet in a channel."""
    return key_of_strings(USER + user, POINTS + channel)


def wallet_of(key: Key) -> tuple[str, str]:
    """Return user and channel of a wallet's key; the inverse of `wallet_key`.

    Raises:
        ValueError: it is another row's key.
    """
    user, channel = (value.get("S", "") for value in json.loads(key))
    if not (user.startswith(USER) and channel.startswith(POINTS)):
        raise ValueError(f"not a wallet's key: {key.decode()}")
    return user.removeprefix(USER), channel.removeprefix(POINTS)
