"""The official test suite and real schemas: no result is worse than the recorded one, and none better in silence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ratchet

HOW_TO_RECORD = "python tests/benchmarks/ratchet.py --write records the results as they are"
SAMPLED = 40  # of so many schemas of a data set, the first


def explained(differences: list[str]) -> str:
    return "\n".join([f"{len(differences)} results are not as recorded; {HOW_TO_RECORD}", *differences[:50]])


@pytest.mark.parametrize("draft", ratchet.DIALECTS)
def test_the_suite_is_judged_as_recorded(draft: str, shared: Path) -> None:
    suite = shared / "data" / "json-schema-test-suite"
    if not (suite / draft).is_dir():
        pytest.skip(f"{draft} of the JSON Schema Test Suite is not in the folder of measuring data")
    units = ratchet.suite_units(suite, ratchet.compiler(), draft)
    _, differences = ratchet.collect(units, ratchet.read_record())
    assert not differences, explained(differences)


@pytest.fixture(scope="module")
def maskbench_units(shared: Path) -> list[ratchet.Unit]:
    path = shared / "data" / "maskbench" / "dev.jsonl.gz"
    if not path.exists():
        pytest.skip("MaskBench is not in the folder of measuring data")
    return [*ratchet.maskbench_units(path, ratchet.compiler())]


def test_a_sample_of_real_schemas_is_judged_as_recorded(maskbench_units: list[ratchet.Unit]) -> None:
    sample, record = [unit for unit in maskbench_units if unit.start % SAMPLED == 0], ratchet.read_record()
    differences = [found for unit in sample for found in ratchet.compare(unit, unit.mark(), record)]
    assert not differences, explained(differences)


@pytest.mark.long
def test_real_schemas_are_judged_as_recorded(maskbench_units: list[ratchet.Unit]) -> None:
    def counted() -> Iterator[ratchet.Unit]:
        for number, unit in enumerate(maskbench_units, 1):
            yield unit
            if number % 200 == 0:
                print(f"{number:,} of {len(maskbench_units):,} schemas", flush=True)

    _, differences = ratchet.collect(counted(), ratchet.read_record())
    assert not differences, explained(differences)


def test_nothing_wrong_is_on_record() -> None:
    """No real schema is misjudged, and none of the suite's required tests."""
    record = ratchet.read_record()
    wrong = {ratchet.ACCEPTED, ratchet.REJECTED, ratchet.RAISED}
    found = [
        (table, line)
        for table, entries in record.items()
        for line, marks in entries.items()
        if wrong & {*marks} and not line.startswith("optional/")
    ]
    assert found == []
    assert not any(ratchet.RAISED in marks for entries in record.values() for marks in entries.values())


def test_differences_are_told_as_better_or_worse() -> None:
    unit = ratchet.Unit("draft7", "a.json", 1, ("first", "second", "third"), str)
    record = {"draft7": {"a.json": ".u.u"}}
    for marks, expected in (("u.u", []), (".l+", ["better", "worse", "worse"]), ("l.u", ["other"])):
        assert [told.partition(":")[0] for told in ratchet.compare(unit, marks, record)] == expected
    assert [*ratchet.compare(unit, "u.u", {})] != []
    assert [told.partition(":")[0] for told in ratchet.gone(record, {"draft7": {"a.json": "..."}})] == ["gone"]
