"""What can go wrong with the embedded AWS itself."""


class StartFailed(Exception):
    """A server of the stack did not start; the message says why and what to do."""


class WrongSetting(ValueError):
    """A setting of a request is out of its range; the message names it and the range."""
