"""Commands go through the controller's door, which knows who asks; what waits is seen, taken back, and expires."""

import json
from typing import Any

import pytest

from controller_console import console_of, door_of, knocker_of
from controller_world import Town, run, settled, to_ramping
from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.memory.control import ControlStore, MemoryJournal, MemoryStatusBoard
from crossfade.core.migration.asking import refusal
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.state import Migration, fold
from crossfade.core.values.errors import StoreUnavailable
from crossfade.runtime import http
from crossfade.runtime.http_client import Answered
from crossfade_controller.commands import ask, status
from crossfade_controller.failing import DONE, REFUSED
from crossfade_controller.knocking import Knocker, NotTaken, OutcomeUnknown, Refused
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


# Nobody there.


async def test_a_start_without_a_controller_is_refused_at_once_and_leaves_nothing_behind() -> None:
    store = ControlStore()
    console = console_of(store)._replace(door=knocker_of(store, None))
    with pytest.raises(NotTaken) as refused:
        await ask(console, Intent.START, {"exclude": []}, execute=True)
    assert "will not be carried out later" in str(refused.value)
    assert "python -m crossfade_controller.main" in str(refused.value)
    assert store.journal == []


async def test_a_port_where_nobody_listens_any_more_is_said_with_its_address() -> None:
    store = ControlStore()
    door = Knocker(
        MemoryJournal(store, who="ann"),
        MemoryStatusBoard(store),
        clock=SYSTEM,
        migration="engagement",
        operator="ann",
        url="http://127.0.0.1:9",
        patience_s=0.0,
        send=_refused_connection,
    )
    with pytest.raises(NotTaken, match=r"nothing is listening at http://127\.0\.0\.1:9"):
        await door.ask(Intent.PAUSE, {})


async def _refused_connection(url: str, _body: Any) -> Any:
    raise StoreUnavailable(url) from ConnectionRefusedError()


async def test_a_controller_that_does_not_drive_takes_nothing() -> None:
    store = ControlStore()
    with pytest.raises(NotTaken, match="another one holds the lease"):
        await knocker_of(store, door_of(store, drives=False)).ask(Intent.PAUSE, {})
    assert store.journal == []


async def test_the_door_is_found_where_the_controller_that_drives_told_it() -> None:
    store = ControlStore()
    await MemoryStatusBoard(store).put({"door": "http://127.0.0.1:4711"})
    asked: list[str] = []

    async def send(url: str, _body: Any) -> Any:
        asked.append(url)
        return {"entry": 1, "who": "ann", "expires_us": 1}

    door = Knocker(
        MemoryJournal(store, who="ann"),
        MemoryStatusBoard(store),
        clock=SYSTEM,
        migration="engagement",
        operator="ann",
        send=send,
    )
    await door.ask(Intent.PAUSE, {})
    assert asked == ["http://127.0.0.1:4711/intents"]


@pytest.mark.parametrize("taken", [True, False])
async def test_a_lost_answer_is_looked_up_in_the_journal(taken: bool) -> None:
    store = ControlStore()
    real = knocker_of(store, door_of(store))

    async def lost(url: str, body: Any) -> Any:
        if taken:
            await real._send(url, body)
        raise StoreUnavailable("no answer within 5 s") from TimeoutError()

    door = Knocker(
        MemoryJournal(store, who="ann"),
        MemoryStatusBoard(store),
        clock=SYSTEM,
        migration="engagement",
        operator="ann",
        url="http://127.0.0.1:1",
        send=lost,
    )
    if taken:
        assert (await door.ask(Intent.PAUSE, {})).entry == 1
    else:
        with pytest.raises(OutcomeUnknown, match="crossfade journal"):
            await door.ask(Intent.PAUSE, {})


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (404, "not_found", NotTaken),  # another service has the port by now
        (421, "wrong_host", NotTaken),
        (503, "not_driving", NotTaken),
        (503, "store_unavailable", OutcomeUnknown),  # the journal may have it
        (500, "internal", OutcomeUnknown),
        (409, "refused", Refused),
        (401, "no_token", Refused),
        (403, "wrong_role", Refused),
    ],
)
async def test_what_an_answer_means_for_a_command_is_not_guessed(
    status: int, code: str, error: type[Exception]
) -> None:
    store = ControlStore()

    async def answers(url: str, _body: Any) -> Any:
        raise Answered(url, status, json.dumps({"error": {"code": code, "message": "so it is"}}).encode())

    door = Knocker(
        MemoryJournal(store, who="ann"),
        MemoryStatusBoard(store),
        clock=SYSTEM,
        migration="engagement",
        operator="ann",
        url="http://127.0.0.1:1",
        patience_s=0.0,
        send=answers,
    )
    with pytest.raises(error, match="so it is"):
        await door.ask(Intent.PAUSE, {})


async def test_the_same_command_sent_twice_is_one_entry() -> None:
    store = ControlStore()
    door = door_of(store)
    body = {"migration": "engagement", "verb": "pause", "arguments": {}, "operator": "ann", "nonce": "7"}
    asked = http.Request(
        "POST", "/intents", {"host": "127.0.0.1", "content-type": "application/json"}, json.dumps(body).encode()
    )
    answers = [await door.answer(asked) for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(store.journal) == 1


# Who asks.


async def test_the_journal_says_who_asked_not_which_pod_wrote_it() -> None:
    store = ControlStore()
    await knocker_of(store, door_of(store), operator="ann@desk").ask(Intent.PAUSE, {})
    (pending,) = fold(Migration(KEYED_PHASES), store.journal).pending
    assert pending.who == "ann@desk"
    assert store.journal[0].who == "pod"


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"verb": "fly"}, 400, "verb: must be one of start"),
        ({"arguments": []}, 400, "arguments: must be an object"),
        ({"operator": ""}, 400, "operator: must be a non-empty string"),
        ({"expires_s": -1}, 400, "expires_s"),
        ({"expires_s": True}, 400, "expires_s"),
        ({"migration": "wallets"}, 409, "this controller drives engagement, not wallets"),
        ({"verb": "cutover"}, 409, "cutover is not possible in PLANNED"),
    ],
)
async def test_what_is_no_command_or_not_possible_is_refused_at_the_door(
    changed: dict[str, Any], status: int, says: str
) -> None:
    store = ControlStore()
    body = {"migration": "engagement", "verb": "pause", "arguments": {}, "operator": "ann", "nonce": "7", **changed}
    headers = {"host": "127.0.0.1", "content-type": "application/json"}
    answer = await door_of(store).answer(http.Request("POST", "/intents", headers, json.dumps(body).encode()))
    assert answer.status == status
    assert says in json.loads(answer.body)["error"]["message"]
    assert store.journal == []


# What waits is seen, is taken back, and ends.


async def test_a_command_that_waits_is_in_the_status_with_the_way_to_take_it_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    console = console_of(town.store, door=door_of(town.store, clock=town.aws_clock))
    await ask(console, Intent.RAMP, {"share": 1_000}, execute=True)
    ctx, driver = await town.start()
    for seen in ("not accepted yet", "requested"):
        capsys.readouterr()
        await MemoryStatusBoard(town.store).put(status_of(ctx, driver.wait))
        await status(console, patience_s=0.0)
        text = status_text(printed(capsys))
        number = ctx.state.pending[0].number
        assert f"{seen}: ramp 10 by ann, entry {number}, expires" in text
        assert f"crossfade withdraw {number} --execute" in text
        await driver.tick()


@pytest.mark.parametrize("paused", [False, True])
async def test_a_waiting_command_can_be_withdrawn_while_paused_and_after_a_kill_too(paused: bool) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    town.parity = town.parity._replace(reachable=False)  # so that the ramp waits
    ramp = await town.ask("ramp", share=1_000)
    if paused:
        await town.ask("pause")
    _, driver = await town.start()
    for _ in range(5):
        await town.live()
        await driver.tick()
    assert town.outcome(ramp) is None
    withdrawal = await town.ask("withdraw", entry=ramp)
    await run(town, lambda: town.outcome(withdrawal) is not None)
    outcome = town.outcome(ramp)
    assert outcome is not None
    assert (outcome["outcome"], outcome["because"]) == ("withdrawn", "by ann; nothing was done for it")
    town.parity = town.parity._replace(reachable=True)
    ctx, driver = await town.start()
    for _ in range(20):
        await town.live()
        await driver.tick()
    assert ctx.state.document.share == 0, "and it doesn't happen later"


async def test_withdraw_without_a_number_means_the_only_command_and_names_them_otherwise(
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = ControlStore()
    console = console_of(store)
    assert await ask(console, Intent.WITHDRAW, {"entry": None}, execute=True) == REFUSED
    assert "those are: none" in printed(capsys)["because"]
    await ask(console, Intent.START, {"exclude": []}, execute=True)
    capsys.readouterr()
    assert await ask(console, Intent.WITHDRAW, {"entry": None}, execute=True) == DONE
    assert printed(capsys)["arguments"] == {"entry": 1}
    assert await ask(console, Intent.WITHDRAW, {"entry": 99}, execute=True) == REFUSED
    assert "1 (start)" in printed(capsys)["because"]


async def test_a_command_that_waited_too_long_expires_and_does_not_happen_later() -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    town.parity = town.parity._replace(reachable=False)
    door = knocker_of(town.store, door_of(town.store, clock=town.aws_clock))
    taken = await door.ask(Intent.RAMP, {"share": 1_000}, expires_s=60)
    _, driver = await town.start()
    await town.live()
    await driver.tick()
    assert town.outcome(taken.entry) is None
    town.now_s += 61
    await town.live()
    await driver.tick()
    outcome = town.outcome(taken.entry)
    assert outcome is not None
    assert outcome["outcome"] == "expired"
    assert "the verifier doesn't answer" in outcome["because"]
    assert "nothing was done for it" in outcome["because"]


async def test_a_command_that_no_controller_took_up_in_time_expires() -> None:
    town = Town()
    door = knocker_of(town.store, door_of(town.store, clock=town.aws_clock))
    taken = await door.ask(Intent.START, {"exclude": []})
    town.now_s += 5 * 3600  # the controller died right then, and comes back hours later
    await run(town, lambda: town.outcome(taken.entry) is not None)
    outcome = town.outcome(taken.entry)
    assert outcome is not None
    assert outcome["outcome"] == "expired"
    assert town.aws.calls == []


async def test_a_command_for_which_something_was_done_does_not_expire() -> None:
    town = Town()
    door = knocker_of(town.store, door_of(town.store, clock=town.aws_clock))
    taken = await door.ask(Intent.START, {"exclude": []}, expires_s=60)
    ctx, _ = await run(town, lambda: bool(town.entries("phase")))
    town.now_s += 120
    ctx, _ = await run(town, lambda: town.outcome(taken.entry) is not None)
    assert ctx.state.phase is Phase.BOTH_WAYS


# Dry runs know what is pending.


async def completing() -> Town:
    """A migration past the point of no return, whose revocation fails."""
    town = Town(revoke_command=["revoke"])
    await to_ramping(town)
    await settled(town, "cutover")
    town.command_exit = 1
    await town.ask("complete", confirm="engagement")
    await run(town, lambda: town.flags.current().document.complete)
    return town


@pytest.mark.parametrize("intent", [Intent.ROLLBACK, Intent.CUTOVER])
async def test_past_the_point_of_no_return_a_dry_run_says_so(
    intent: Intent, capsys: pytest.CaptureFixture[str]
) -> None:
    town = await completing()
    capsys.readouterr()
    assert await ask(console_of(town.store), intent, {}, execute=False) == REFUSED
    assert "there is no way back" in printed(capsys)["because"]


async def test_past_the_point_of_no_return_complete_is_not_withdrawn(capsys: pytest.CaptureFixture[str]) -> None:
    town = await completing()
    capsys.readouterr()
    assert await ask(console_of(town.store), Intent.WITHDRAW, {"entry": None}, execute=True) == REFUSED
    assert "there is no way back" in printed(capsys)["because"]


async def test_a_dry_run_names_the_command_that_it_would_replace(capsys: pytest.CaptureFixture[str]) -> None:
    town = Town()
    await to_ramping(town)
    number = await town.ask("ramp", share=6_000)
    capsys.readouterr()
    await ask(console_of(town.store, as_json=False), Intent.ROLLBACK, {}, execute=False)
    assert f"would replace ramp 60 by ann, entry {number}" in capsys.readouterr().out


# What has to be there before the point of no return.


async def test_complete_without_a_word_on_the_revocation_is_refused_before_the_point_of_no_return() -> None:
    town = Town()
    await to_ramping(town)
    await settled(town, "cutover")
    number = await town.ask("complete", confirm="engagement", revoked=False)
    ctx, _ = await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "refused"
    assert "--revoked --execute" in outcome["because"]
    assert not ctx.state.document.complete
    assert "publish-complete" not in ctx.state.begun


async def test_with_a_program_that_revokes_complete_needs_no_word() -> None:
    town = Town(revoke_command=["revoke"])
    await to_ramping(town)
    await settled(town, "cutover")
    ctx, _ = await settled(town, "complete", confirm="engagement")
    assert ctx.state.phase is Phase.COMPLETE


# An abort is for good.


async def test_an_abort_wants_the_name_in_writing_and_says_that_it_is_spent_and_what_it_leaves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    town = Town()
    await settled(town, "start", exclude=[])
    console = console_of(town.store, as_json=False)
    capsys.readouterr()
    assert await ask(console, Intent.ABORT, {"confirm": ""}, execute=True) == REFUSED
    assert "--confirm engagement" in capsys.readouterr().err
    assert await ask(console, Intent.ABORT, {"confirm": "engagement"}, execute=False) == DONE
    dry = capsys.readouterr().out
    await settled(town, "abort", confirm="engagement")
    outcome = town.entries("outcome")[-1].body["because"]
    names = (
        "name engagement, which can't be used again",
        "control tables",
        "wallet-changes",
        "table engagement",
        "bucket",
    )
    for left in names:
        assert left in dry
        assert left in outcome


def test_the_rule_is_one_for_dry_run_door_and_driver() -> None:
    for complete in ({"confirm": "m"}, {"confirm": "m", "revoked": True}):
        told = refusal(
            Migration(KEYED_PHASES, phase=Phase.BAKING), Intent.COMPLETE, complete, migration="m", revokes=False
        )
        assert bool(told) is ("revoked" not in complete)
