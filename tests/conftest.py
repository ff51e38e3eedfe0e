"""What all tests share."""

from hypothesis import settings

pytest_plugins = ["localaws.fixture"]

settings.register_profile("suite", deadline=None)  # on a busy machine an example may take any time
settings.load_profile("suite")
