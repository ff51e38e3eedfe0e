"""The target table is created with the source's global indexes, under the target's names, or with the mapping's."""

from crossfade.core.mapping.indexes import target_indexes
from crossfade.core.mapping.rules import Constant, Keep, Rename, RuleMapping, Table
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Index, IndexKey, Side

BY_MAIL = Index("by-mail", (IndexKey("mail", "S"), IndexKey("created", "N", sorts=True)), "INCLUDE", ("total", "kind"))
BY_SORT = Index("by-sort", (IndexKey("sk", "S"), IndexKey("pk", "S", sorts=True)), "KEYS_ONLY")
BY_KIND = Index("by-kind", (IndexKey("kind", "S"),))


def mapping(*, is_open: bool = False, indexes: tuple[Index, ...] | None = None) -> RuleMapping:
    rules = () if is_open else (Rename("mail", "e_mail"), Keep("created"), Rename("total", "sum"))
    return RuleMapping(
        "m",
        source=Table("old", key=("pk", "sk")),
        target=Table("new", key=("hash", "sort"), indexes=indexes),
        rules=(*rules, Constant(Side.SOURCE, "kind", of_string("order"))),
        belongs=lambda _key: True,
        is_open=is_open,
    )


def test_an_index_is_made_under_the_target_s_names_as_to_keys_and_projection() -> None:
    made, left_out = target_indexes(mapping(), [BY_MAIL, BY_SORT])
    assert made == (
        Index("by-mail", (IndexKey("e_mail", "S"), IndexKey("created", "N", sorts=True)), "INCLUDE", ("sum",)),
        Index("by-sort", (IndexKey("sort", "S"), IndexKey("hash", "S", sorts=True)), "KEYS_ONLY"),
    )
    assert left_out == ("the index by-mail doesn't project kind, which the target hasn't",)


def test_an_index_on_what_the_target_has_not_is_left_out_and_said() -> None:
    found = target_indexes(mapping(), [BY_KIND])
    assert found.made == ()
    assert "by-kind is left out: the target has no kind, its key" in found.left_out[0]


def test_an_open_mapping_carries_what_it_does_not_name() -> None:
    found = target_indexes(mapping(is_open=True), [BY_MAIL, BY_KIND])
    assert [each.name for each in found.made] == ["by-mail"]
    assert found.made[0].key == BY_MAIL.key
    assert found.made[0].projected == ("total",), "a constant of the source isn't there"


def test_what_the_mapping_says_counts_instead() -> None:
    said = (Index("other", (IndexKey("sum", "N"),)),)
    assert target_indexes(mapping(indexes=said), [BY_MAIL, BY_KIND]).made == said
    assert target_indexes(mapping(indexes=()), [BY_MAIL]).made == ()


def test_an_attribute_that_is_sort_key_of_one_index_and_partition_key_of_another_has_the_narrower_bound() -> None:
    one = Index("one", (IndexKey("e_mail", "S"),))
    other = Index("other", (IndexKey("created", "N"), IndexKey("e_mail", "S", sorts=True)))
    found = target_indexes(mapping(indexes=(one, other)), ())
    assert found.keys == (IndexKey("created", "N"), IndexKey("e_mail", "S", sorts=True))
