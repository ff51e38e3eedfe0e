"""What all tests share."""

pytest_plugins = ["localaws.fixture"]
