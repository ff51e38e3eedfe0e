"""A pod vouches for a flag document only when nothing begun under an older one is running."""

from __future__ import annotations

from crossfade.adapters.memory.flags import MemoryFlags
from crossfade.application.epochs import Epochs
from crossfade.core.ownership.ramp import FlagDocument

FIRST, SECOND, THIRD = FlagDocument(), FlagDocument(100, 1), FlagDocument(1000, 1)


async def test_section_4_a_document_is_settled_only_when_older_operations_have_ended() -> None:
    flags = MemoryFlags(FIRST)
    epochs = Epochs(flags)
    slow = epochs.begin()
    flags.show(SECOND, dual_write=True)
    epochs.look()
    young = epochs.begin()
    assert (epochs.current.document, epochs.settled.document) == (SECOND, FIRST)
    epochs.end(slow)
    assert epochs.settled.document == SECOND
    epochs.end(young)


async def test_an_old_operation_holds_back_however_many_documents_came_since() -> None:
    flags = MemoryFlags(FIRST)
    epochs = Epochs(flags)
    slow = epochs.begin()
    for document in (SECOND, THIRD):
        flags.show(document, dual_write=False)
        epochs.look()
    assert epochs.settled.document == FIRST
    epochs.end(slow)
    assert epochs.settled.document == THIRD


async def test_an_idle_pod_settles_at_once_and_says_so() -> None:
    flags, told = MemoryFlags(FIRST), []
    epochs = Epochs(flags)
    epochs.on_settled = lambda: told.append(epochs.settled.document)
    flags.show(SECOND, dual_write=False)
    epochs.look()
    epochs.look()
    assert told == [SECOND]


async def test_the_dual_write_flag_is_part_of_the_word() -> None:
    flags = MemoryFlags(FIRST)
    epochs = Epochs(flags)
    slow = epochs.begin()
    flags.show(FIRST, dual_write=True)
    epochs.look()
    assert (epochs.current.dual_write, epochs.settled.dual_write) == (True, False)
    epochs.end(slow)
    assert epochs.settled.dual_write


async def test_a_change_back_is_a_new_epoch() -> None:
    flags = MemoryFlags(FIRST)
    epochs = Epochs(flags)
    first = epochs.begin()
    for document in (SECOND, FIRST):
        flags.show(document, dual_write=False)
        epochs.look()
    assert epochs.begin() is not first
