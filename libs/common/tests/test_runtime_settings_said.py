"""A wrong setting is refused before anything starts, by name, with the cure, and without its value."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from crossfade.adapters.flagd import read_flagd_file
from crossfade.core.mapping.rules import Rename, RuleMapping, Table, key_prefixes
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import same_table
from crossfade.runtime.settings import PREFIX, ServiceSettings, describe_settings, load_mapping, read_settings
from crossfade_controller.main import main as controller_main
from crossfade_controller.settings import ControllerSettings
from crossfade_replicator.settings import Settings as ReplicatorSettings
from engagement_api.settings import Settings as ApiSettings
from engagement_migration import MAPPING as ENGAGEMENT


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


def refused(cls: type[ServiceSettings]) -> str:
    with pytest.raises(ConfigError) as caught:
        read_settings(cls)
    return str(caught.value)


def test_a_missing_setting_is_named_with_what_it_is_for() -> None:
    assert refused(ReplicatorSettings) == "CROSSFADE_CONSUMER: is not set  (forward, reverse or feed.)"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("AWS_ENDPOINT_URL", "localhost:4566"), ("REDIS_URL", "127.0.0.1:6379"), ("REDIS_URL", "http://127.0.0.1")],
)
def test_an_address_without_its_scheme_is_refused_and_its_value_not_told(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PREFIX + name, wrong)
    said = refused(ServiceSettings)
    assert said.startswith(f"CROSSFADE_{name}: must begin with ")
    assert wrong not in said


def test_an_empty_address_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_REDIS_URL", "")
    assert read_settings(ServiceSettings).redis_url is None


def test_a_rule_between_two_settings_names_both_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_OPERATION_S", "8")
    assert refused(ApiSettings) == "CROSSFADE_OPERATION_S must be at most half of CROSSFADE_LEASE_S"


def test_a_list_that_is_not_json_is_refused_with_the_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_REVOKE_COMMAND", "aws iam detach")
    said = refused(ControllerSettings)
    assert said.startswith("CROSSFADE_REVOKE_COMMAND: is not JSON")
    assert '["one","two"]' in said


def test_unknown_and_wrong_settings_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSFADE_REGOIN", "eu-west-1")
    monkeypatch.setenv("CROSSFADE_LOG_LEVEL", "loud")
    unknown, wrong = refused(ServiceSettings).splitlines()
    assert unknown == "CROSSFADE_REGOIN: unknown setting; did you mean CROSSFADE_REGION?"
    assert wrong.startswith("CROSSFADE_LOG_LEVEL: ")


def test_help_says_unset_where_a_setting_has_no_value() -> None:
    said = describe_settings(ControllerSettings)
    assert "CROSSFADE_BUCKET (default: unset)" in said
    assert "(default: )" not in said
    assert "None" not in said


def test_what_is_not_a_mapping_is_refused() -> None:
    with pytest.raises(ConfigError, match="CROSSFADE_MIGRATION_MAPPING=json:dumps is a function, not a mapping"):
        load_mapping("json:dumps")


def test_a_mapping_module_that_raises_is_named_with_what_it_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mapping_that_raises.py").write_text("{}['points']\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"CROSSFADE_MIGRATION_MAPPING=mapping_that_raises:MAPPING: KeyError"):
        load_mapping("mapping_that_raises:MAPPING")


def test_the_controllers_check_ends_with_2_for_a_mapping_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CROSSFADE_FLAG_FILE", str(tmp_path / "flags.json"))
    monkeypatch.setenv("CROSSFADE_MIGRATION_MAPPING", "nowhere:MAPPING")
    with pytest.raises(SystemExit) as end:
        controller_main(["--check"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "CROSSFADE_MIGRATION_MAPPING=nowhere:MAPPING: No module named 'nowhere'\n"


def test_a_flag_file_that_is_not_there_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"CROSSFADE_FLAG_FILE=.*No such file.*the controller writes it"):
        read_flagd_file(tmp_path / "flags.json")


@pytest.mark.parametrize("text", ["{bad", "[]", '{"flags": {}}', "\udcff"])
def test_a_flag_file_that_is_broken_is_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "flags.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"CROSSFADE_FLAG_FILE=.*flags\.json: "):
        read_flagd_file(file)


def test_both_command_lines_of_the_controller_say_which_they_are() -> None:
    for module in ("crossfade_controller.main", "crossfade_controller.cli"):
        said = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True)
        assert said.stdout.split()[0] in ("controller", "crossfade")


def test_the_api_takes_no_mapping_whose_rows_it_can_not_name(monkeypatch: pytest.MonkeyPatch) -> None:
    balance = Rename(source="bal", target="points")
    cards = RuleMapping(
        "loyalty",
        source=Table("shop", key=("pk", "sk")),
        target=Table("loyalty", key=("member", "card")),
        belongs=key_prefixes("MEMBER#", "CARD#"),
        rules=(balance,),
    )
    module = types.ModuleType("cards")
    module.MAPPING = cards  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cards", module)
    with pytest.raises(ConfigError, match="rows of 'loyalty' have other keys"):
        read_settings(ApiSettings, migration_mapping="cards:MAPPING").mapping()
    assert read_settings(ApiSettings).mapping() is ENGAGEMENT


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("wallet", "wallet"),
        ("wallet", "Wallet"),
        ("arn:aws:dynamodb:us-east-1:111122223333:table/wallet", "wallet"),
    ],
)
def test_a_mapping_whose_source_is_its_target_is_refused_when_it_loads(
    source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onto_itself.py").write_text(
        "from crossfade.core.values.shape import Side\n"
        "from engagement_migration import MAPPING as RIGHT\n"
        "class Same:\n"
        "    def __getattr__(self, name):\n"
        "        return getattr(RIGHT, name)\n"
        "    def shape(self, side):\n"
        f"        return RIGHT.shape(side)._replace(table={source!r} if side is Side.SOURCE else {target!r})\n"
        "MAPPING = Same()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "onto_itself", raising=False)
    with pytest.raises(ConfigError, match=r"source .* and target .* are one table"):
        load_mapping("onto_itself:MAPPING")


def test_tables_of_one_name_in_two_accounts_or_regions_are_two_if_both_are_given_as_arns() -> None:
    here = "arn:aws:dynamodb:us-east-1:111122223333:table/wallet"
    assert same_table(here, here)
    assert not same_table(here, "arn:aws:dynamodb:us-east-1:444455556666:table/wallet")
    assert not same_table(here, "arn:aws:dynamodb:eu-west-1:111122223333:table/wallet")
    assert same_table("wallet", "arn:aws:dynamodb:us-east-1:444455556666:table/wallet"), "whose is the first?"
