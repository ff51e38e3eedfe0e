"""Settings of a service whose HTTP door lets only some in (ADR 0039)."""

from __future__ import annotations

from pydantic import Field

from crossfade.runtime.settings import ListeningSettings


class GuardedSettings(ListeningSettings):
    """Settings of a service whose door has routes for viewers and for operators."""

    operators: list[str] = Field(
        [],
        description="Names (common names) of the certificates that may give commands, a JSON list; the others may "
        'only look. ["*"] allows every certificate of the authority.',
    )
