"""The rules: what they keep, and that nothing goes which something else needs."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rescue.errors import UsageError
from rescue.model.lineage import Lineage, could_need, dependents_first, needed_by, with_needed, without_aliases
from rescue.model.plan import RemoveImages
from rescue.model.survey import ChainLink, ImageSummary
from rescue.planning.prune import StoreState, plan_prune
from rescue.planning.retention import Dated, PruneRequest, Rules, kept_by, made_at
from rescue.records import replace
from tests.examples import examples
from tests.unit.planning.machines import IMAGE

UTC = datetime.UTC
NOW = datetime.datetime(2026, 11, 30, 12, tzinfo=UTC)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


def image(name: str, created: str = "2026-11-22T10:00:00Z", needs: tuple[str, ...] = (), **changes: object) -> ImageSummary:
    """An image of the laptop; its fingerprint is its name."""
    links = tuple(ChainLink(f"u-{n}", n, n, 1000) for n in needs)
    parent = f"u-{needs[0]}" if needs else ""
    made = replace(
        IMAGE, name=name, path=f"/s/{name}", uuid=f"u-{name}", fingerprint=name, created=created, chain=links, parent=parent,
        kind="incremental" if needs else "full", stored_size=100, comment="",
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def lineage(of: ImageSummary, **changes: object) -> Lineage:
    """What its file says of it."""
    needs = frozenset(link.fingerprint for link in of.chain)
    first = of.chain[0].fingerprint if of.chain else "0" * 64
    return replace(Lineage(of.name, of.fingerprint, of.kind, needs, first, of.encrypted, 512), **changes)  # type: ignore[arg-type]


def planned(images: list[ImageSummary], rules: Rules, **state: object) -> tuple[set[str], StoreState]:
    """The names that go."""
    whole = StoreState("/s", tuple(images), tuple(lineage(i) for i in images))
    whole = replace(whole, **state)  # type: ignore[arg-type]
    plan = plan_prune(whole, PruneRequest(rules), now=NOW, zone=UTC)
    return ({i.name for step in plan.steps if isinstance(step, RemoveImages) for i in step.images}, whole)


def stamp(made: datetime.datetime) -> str:
    return made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


moments = st.integers(0, 1060 * 86400).map(lambda s: datetime.datetime(2024, 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=s))
counts = st.integers(0, 6)
rules_ = st.builds(Rules, counts, counts, counts, counts, counts).filter(
    lambda r: any((r.last, r.daily, r.weekly, r.monthly, r.yearly))
)


def _reference(rules: Rules, dated: list[Dated]) -> set[str]:
    """The same by the book: group, take the newest of each group, take the newest groups."""
    order = sorted(dated, key=lambda d: (d.made, d.image.rank, d.image.name))
    kept = {d.image.name for d in order[max(0, len(order) - rules.last) :]} if rules.last else set()
    for count, form in ((rules.daily, "%Y-%m-%d"), (rules.weekly, "%G-%V"), (rules.monthly, "%Y-%m"), (rules.yearly, "%Y")):
        newest_of = {d.made.strftime(form): d.image.name for d in order}  # the last one wins
        kept |= {newest_of[key] for key in sorted(newest_of)[len(newest_of) - min(count, len(newest_of)) :]}
    return kept


@given(st.lists(moments, max_size=40), rules_)
@settings(max_examples=examples(300), deadline=None)
def test_the_rules_keep_what_the_book_says(made: list[datetime.datetime], rules: Rules) -> None:
    dated = [Dated(image(f"i{n}"), t.replace(tzinfo=BERLIN)) for n, t in enumerate(made)]
    # Local times are compared by the wall clock here: an hour that occurs twice is left out.
    dated = [d for d in dated if d.made.replace(fold=0).utcoffset() == d.made.replace(fold=1).utcoffset()]
    kept = kept_by(rules, dated)
    assert set(kept) == _reference(rules, dated)
    assert all(reasons for reasons in kept.values())
    if dated:
        assert max(dated, key=lambda d: (d.made, d.image.name)).image.name in kept  # the newest always stays


@given(st.lists(moments, min_size=1, max_size=30), rules_, st.data())
@settings(max_examples=examples(200), deadline=None)
def test_removing_what_is_not_kept_changes_nothing_of_what_is(
    made: list[datetime.datetime], rules: Rules, data: st.DataObject
) -> None:
    """So a prune that was cut off and is run again ends as it would have."""
    dated = [Dated(image(f"i{n}"), t.replace(tzinfo=UTC)) for n, t in enumerate(made)]
    kept = kept_by(rules, dated)
    gone = data.draw(st.sets(st.sampled_from([d.image.name for d in dated])).map(lambda names: names - set(kept)))
    assert kept_by(rules, [d for d in dated if d.image.name not in gone]) == kept


@st.composite
def stores(draw: Callable[[st.SearchStrategy[Any]], Any]) -> list[ImageSummary]:
    """Chains as backups make them: each image upon an earlier one, needing some of what that needs; clocks may lie."""
    found: list[ImageSummary] = []
    for number in range(draw(st.integers(1, 14))):
        created = stamp(draw(moments).replace(tzinfo=UTC))
        above = draw(st.sampled_from(found)) if found and draw(st.integers(0, 3)) else None
        needs: tuple[str, ...] = ()
        if above is not None:
            deeper = [link.fingerprint for link in above.chain]
            needs = (above.name, *(name for name in deeper if draw(st.booleans())))
        serial = draw(st.sampled_from(["A", "B"])) if above is None else (above.disk.serial if above.disk else "A")
        assert IMAGE.disk is not None
        found.append(image(f"i{number}", created, needs, disk=replace(IMAGE.disk, serial=serial)))
    return found


@given(stores(), rules_, st.data())
@settings(max_examples=examples(400), deadline=None)
def test_nothing_goes_that_something_kept_needs(images: list[ImageSummary], rules: Rules, data: st.DataObject) -> None:
    broken = data.draw(st.sets(st.sampled_from([i.name for i in images]), max_size=2))
    locked = data.draw(st.sets(st.sampled_from([i.name for i in images]), max_size=2)) - broken
    shown = [replace(i, health="FAILED") if i.name in broken else i for i in images]
    lineages = tuple(
        replace(lineage(i), needs=None, locked=True, problem="It is locked.") if i.name in locked else lineage(i) for i in images
    )
    gone, state = planned(shown, rules, lineages=lineages)
    truth = {i.name: {link.fingerprint for link in i.chain} for i in images}
    for name in truth.keys() - gone:
        assert not truth[name] & gone, "an image that stays lost what it needs"
    assert not gone & (broken | locked)
    assert gone < set(truth)
    # Removed in the planned order, what is left is whole at every moment, and the same command then ends in the same state.
    plan = plan_prune(state, PruneRequest(rules), now=NOW, zone=UTC)
    left = set(truth)
    for step in plan.steps:
        assert isinstance(step, RemoveImages)
        for number, doomed in enumerate(step.images):
            left.remove(doomed.name)
            assert all(not truth[name] - left for name in left)
            if number == len(step.images) // 2:
                rest = [i for i in shown if i.name in left]
                again, _ = planned(rest, rules, lineages=tuple(entry for entry in lineages if entry.name in left))
                assert left - again == set(truth) - gone
    assert len(plan.losses) == len(gone)


def test_what_a_locked_image_could_need() -> None:
    full, one, two, other = image("full"), image("one", needs=("full",)), image("two", needs=("one", "full")), image("other")
    known = [lineage(i) for i in (full, one, two, other)]
    locked = replace(known[2], needs=None, locked=True)
    assert could_need(locked, known) == {"full", "one"}  # by the headers
    assert could_need(locked, [known[0], known[3], locked]) == {"full", "other"}  # one of them is gone: any could be
    elsewhere = replace(known[3], disk_size=77)
    assert could_need(locked, [known[0], elsewhere, locked]) == {"full"}
    unreadable = Lineage("x", problem="It is damaged.")
    assert could_need(unreadable, known) == {"full", "one", "two", "other"}
    assert could_need(replace(known[0], needs=None, locked=True), known) == set()  # a full one needs nothing
    assert needed_by(known)["full"] == {"one", "two"}
    assert with_needed(["two"], known) == {"full", "one", "two"}
    assert dependents_first(["full", "one", "two"], known) == ("two", "one", "full")


def test_a_circle_of_headers_ends() -> None:
    one = Lineage("one", "1", "incremental", None, "2")
    two = Lineage("two", "2", "incremental", None, "1")
    assert could_need(one, [one, two]) == {"two"}
    assert with_needed(["one"], [one, two]) == {"one", "two"}


def test_a_copy_of_what_is_needed_stays_too() -> None:
    full, copy, one = image("full"), image("copy", fingerprint="full"), image("one", "2026-11-23T10:00:00Z", ("full",))
    gone, _ = planned([full, copy, one], Rules(last=1))
    assert gone == set()


def test_what_counts_for_nothing_stays_and_keeps_nothing_else_from_counting() -> None:
    good = image("good", "2026-11-20T10:00:00Z")
    old = image("old", "2026-11-19T10:00:00Z")
    odd = [
        image("failed", "2026-11-21T10:00:00Z", health="FAILED"),
        image("future", "2026-12-24T10:00:00Z"),
        image("undated", "yesterday"),
        image("far", "9999-12-31T23:59:59Z"),
        image("lacking", "2026-11-22T10:00:00Z", ("lost",), problem="It needs lost, not found here.", problem_exit_code=4),
        image("upon-failed", "2026-11-23T10:00:00Z", ("failed",)),
    ]
    state = StoreState("/s", (good, old, *odd), tuple(lineage(i) for i in (good, old, *odd)), partials=("half.rimg",))
    plan = plan_prune(state, PruneRequest(Rules(last=1)), now=NOW, zone=UTC)
    (step,) = plan.steps
    assert isinstance(step, RemoveImages)
    assert [i.name for i in step.images] == ["old"]
    told = "\n".join(plan.warnings)
    assert all(f"{i.name} stays" in told for i in odd)
    assert "half.rimg.partial is an unfinished image" in told


def test_a_link_stays_and_counts_for_nothing() -> None:
    link, new, old = image("link", "2026-11-22T11:00:00Z"), image("new"), image("old", "2026-11-20T10:00:00Z")
    upon = image("upon", "2026-11-21T10:00:00Z", ("link",))
    gone, state = planned([link, new, old, upon], Rules(last=1), links=frozenset({"link"}))
    assert gone == {"old"}
    plan = plan_prune(state, PruneRequest(Rules(last=1)), now=NOW, zone=UTC)
    assert any("link" in warning and "it is a link" in warning for warning in plan.warnings)


def test_another_name_for_an_image_that_is_here_keeps_nothing_that_needs_it() -> None:
    full, one, new = image("full", "2026-11-20T10:00:00Z"), image("one", "2026-11-21T10:00:00Z", ("full",)), image("new")
    alias = image("latest", "2026-11-20T10:00:00Z", fingerprint="full")
    images, links = [full, one, new, alias], frozenset({"latest"})
    lineages = without_aliases([lineage(i) for i in images], links)
    assert planned(images, Rules(last=1), links=links, lineages=lineages)[0] == {"full", "one"}


def test_an_image_that_nobody_can_read_keeps_all() -> None:
    full, new = image("full", "2026-11-20T10:00:00Z"), image("new")
    lineages = (lineage(full), lineage(new), Lineage("x.rimg", problem="Cannot open x.rimg."))
    plan = plan_prune(StoreState("/s", (full, new), lineages), PruneRequest(Rules(last=1)), now=NOW, zone=UTC)
    assert plan.steps == ()
    assert "Nothing is removed." in plan.sentences
    assert any("Kept because images whose needs are not known could need them: full" in w for w in plan.warnings)


def test_disks_are_told_apart_and_can_be_chosen() -> None:
    assert IMAGE.disk is not None
    clone = replace(IMAGE.disk, serial="OTHER")  # the same GUID: it was cloned
    images = [image("a1", "2026-11-20T10:00:00Z"), image("a2"), image("b1", "2026-11-19T10:00:00Z", disk=clone)]
    gone, state = planned(images, Rules(last=1))
    assert gone == {"a1"}
    for name in ("serial:OTHER", "OTHER"):
        plan = plan_prune(state, PruneRequest(Rules(last=1), (name,)), now=NOW, zone=UTC)
        assert plan.steps == ()
    plan = plan_prune(state, PruneRequest(Rules(last=1), (IMAGE.disk.serial,)), now=NOW, zone=UTC)
    assert plan.losses == ("a1 (full, made 2026-11-20 10:00 UTC, 100 bytes)",)
    assert plan.command == ("rescue", "prune", "/s", "--keep-last", "1", "--disk", IMAGE.disk.serial)
    with pytest.raises(UsageError, match="No image is of a disk nope"):
        plan_prune(state, PruneRequest(Rules(last=1), ("nope",)), now=NOW, zone=UTC)


def test_of_one_moment_the_full_image_counts() -> None:
    """So that a chain can go once it was consolidated."""
    full, one, made = image("full", "2026-11-20T10:00:00Z"), image("one", needs=("full",)), image("a-full", made_from="u-one")
    gone, _ = planned([full, one, made], Rules(last=1))
    assert gone == {"full", "one"}


def test_a_clock_that_went_back_makes_no_image_older_than_what_it_needs() -> None:
    """As a computer without a battery has it: the newest image says that it is of last year."""
    first, second = image("a"), image("b", "2025-11-22T10:00:00Z", needs=("a",))
    before = image("0", "2026-11-21T10:00:00Z")
    gone, _ = planned([before, first, second], Rules(last=1))
    assert gone == {"0"}


def test_disks_without_a_serial_are_told_apart_by_where_they_are() -> None:
    """Copies of one virtual disk have one GUID."""
    assert IMAGE.disk is not None
    one, other = (replace(IMAGE.disk, serial="", path=path) for path in ("/vm/one.img", "/vm/other.img"))
    gone, _ = planned([image("o", "2026-11-20T10:00:00Z", disk=one), image("p", disk=other)], Rules(last=1))
    assert gone == set()
    gone, _ = planned([image("o", "2026-11-20T10:00:00Z", disk=one), image("p", disk=one)], Rules(last=1))
    assert gone == {"o"}


def test_an_image_that_lacks_something_makes_no_room_for_itself() -> None:
    """The last whole one stays, until there is another one."""
    old, whole = image("old", "2026-11-20T10:00:00Z"), image("whole", "2026-11-21T10:00:00Z")
    failing = image("failing", bad_bytes=4608)
    assert planned([old, whole, failing], Rules(last=1))[0] == {"old"}
    assert planned([old, whole, failing], Rules(daily=1))[0] == {"old"}
    # Of the two that a salvage makes within a second, the one of the patient passes is the newer.
    more = image("more", needs=("failing",), bad_bytes=512)
    assert planned([whole, failing, more], Rules(last=1))[0] == set()
    assert planned([failing, more, image("again", "2026-11-23T10:00:00Z")], Rules(last=1))[0] == {"failing", "more"}


def test_days_are_those_of_the_clock_on_the_wall() -> None:
    late = image("late", "2026-11-22T23:30:00Z")
    zone = made_at(late.created, BERLIN)
    assert zone is not None
    assert (zone.day, zone.hour) == (23, 0)
    assert made_at("not a time", UTC) is None


@pytest.mark.parametrize("rules", [Rules(), Rules(last=-1), Rules(daily=2, yearly=-3)])
def test_rules_that_are_none(rules: Rules) -> None:
    with pytest.raises(UsageError):
        planned([image("a")], rules)


def test_hostile_names_are_shown_harmless() -> None:
    bad = image("\x1b[2J.rimg", "2026-11-20T10:00:00Z")
    state = StoreState("/s", (bad, image("new")), (lineage(bad), lineage(image("new"))))
    plan = plan_prune(state, PruneRequest(Rules(last=1)), now=NOW, zone=UTC)
    assert all(text.isprintable() for text in (*plan.sentences, *plan.losses, *plan.warnings))
