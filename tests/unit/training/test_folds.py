"""No patient who teaches is ever judged."""

from __future__ import annotations

from collections import Counter

import pytest

from tocsin_agent.lab.ec57.annotations import AAMI_CLASS
from tocsin_agent.lab.evaluate.databases import PACED as JUDGED_AS_PACED
from tocsin_agent.lab.evaluate.databases import SUBSETS
from tocsin_models import LABELS
from tocsin_training.data.folds import (
    AAMI,
    DS1,
    DS2,
    FOLDS,
    MITDB_TEACHES_VF,
    PACED,
    SAME_PATIENT,
    SVDB,
    SVDB_FOLDS,
    TRAINING,
    VFDB,
    VFDB_FIBRILLATES,
    VFDB_FOLDS,
)

# Records of mitdb that come from one patient; the database's directory says so of 201 and 202.
PATIENT = {"202": "201"}


def patients(records: tuple[str, ...]) -> set[str]:
    return {PATIENT.get(record, record) for record in records}


def test_training_and_test_share_no_patient() -> None:
    assert patients(TRAINING).isdisjoint(patients(DS2))


def test_the_patient_on_both_sides_of_the_published_split_does_not_teach() -> None:
    assert "201" in DS1
    assert "202" in DS2
    assert "201" not in TRAINING
    assert SAME_PATIENT == {"201": "202"}


def test_training_is_the_rest_of_ds1() -> None:
    assert set(TRAINING) == set(DS1) - {"201"}
    assert (len(DS1), len(DS2), len(TRAINING)) == (22, 22, 21)


@pytest.mark.parametrize("records", [DS1, DS2, TRAINING])
def test_no_paced_record_teaches_or_judges(records: tuple[str, ...]) -> None:
    assert set(PACED).isdisjoint(records)


def test_all_48_records_have_one_place() -> None:
    assert len({*DS1, *DS2, *PACED}) == len(DS1) + len(DS2) + len(PACED) == 48


def test_folds_cover_training_exactly_once_and_keep_patients_together() -> None:
    assert Counter(r for fold in FOLDS for r in fold) == Counter(TRAINING)
    where = {PATIENT.get(r, r): {i for i, f in enumerate(FOLDS) if r in f} for r in TRAINING}
    assert all(len(folds) == 1 for folds in where.values())


def test_what_teaches_is_what_judges() -> None:
    assert set(AAMI.values()) == set(LABELS)
    # Escape beats are N for the split's authors and S for the reference programs.
    differ = {symbol for symbol, label in AAMI.items() if AAMI_CLASS[symbol] != label}
    assert differ <= set("ejnf")
    assert tuple(SUBSETS["ds2"].split()) == DS2
    assert {f"mitdb/{record}" for record in PACED} == JUDGED_AS_PACED


def test_each_group_of_vfdb_fibrillates_and_no_record_is_in_two() -> None:
    grouped = [record for fold in VFDB_FOLDS for record in fold]
    assert sorted(grouped) == sorted(VFDB)
    assert all(len(set(fold) & set(VFDB_FIBRILLATES)) == 1 for fold in VFDB_FOLDS)


def test_each_patient_of_svdb_is_in_one_group() -> None:
    assert sorted(record for fold in SVDB_FOLDS for record in fold) == sorted(SVDB)


def test_what_judges_fibrillation_elsewhere_did_not_teach_it() -> None:
    assert not set(MITDB_TEACHES_VF) & ({"207"} | set(DS2))
