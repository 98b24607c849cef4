"""No patient is both in training and in the test."""

from __future__ import annotations

import pytest

from tocsin_agent.lab.patients import DS1, DS2, PACED, SAME_PATIENT
from tocsin_training.data.folds import (
    BEAT_FOLDS,
    MITDB,
    MITDB_TRAINS_VF,
    SVDB,
    SVDB_FOLDS,
    TRAINING,
    VFDB,
    VFDB_FOLDS,
    VFDB_WITH_VF,
)

PATIENT = {"202": "201"}
"""Records of mitdb that come from one patient: its directory states it of 201 and 202."""


def patients(records: tuple[str, ...]) -> set[str]:
    return {PATIENT.get(record, record) for record in records}


def test_training_and_test_share_no_patient() -> None:
    assert patients(TRAINING).isdisjoint(patients(DS2))


def test_the_patient_on_both_sides_of_the_published_split_is_left_out_of_training() -> None:
    assert "201" in DS1
    assert "202" in DS2
    assert "201" not in TRAINING
    assert SAME_PATIENT == {"201": "202"}


def test_training_is_the_rest_of_ds1() -> None:
    assert set(TRAINING) == set(DS1) - {"201"}
    assert (len(DS1), len(DS2), len(TRAINING)) == (22, 22, 21)


@pytest.mark.parametrize("records", [DS1, DS2, TRAINING])
def test_no_paced_record_is_in_training_or_test(records: tuple[str, ...]) -> None:
    assert PACED.isdisjoint(f"mitdb/{record}" for record in records)


def test_each_of_the_48_records_is_in_ds1_or_ds2_or_paced() -> None:
    paced = {record.removeprefix("mitdb/") for record in PACED}
    assert {*DS1, *DS2, *paced} == set(MITDB)
    assert len(DS1) + len(DS2) + len(paced) == len(MITDB) == 48


def test_each_training_patient_is_in_one_group() -> None:
    for at, records in enumerate((TRAINING, SVDB)):
        assert sorted(r for fold in BEAT_FOLDS for r in fold[at]) == sorted(records)


def test_each_group_of_vfdb_fibrillates_and_no_record_is_in_two() -> None:
    grouped = [record for fold in VFDB_FOLDS for record in fold]
    assert sorted(grouped) == sorted(VFDB)
    assert all(len(set(fold) & set(VFDB_WITH_VF)) == 1 for fold in VFDB_FOLDS)


def test_each_patient_of_svdb_is_in_one_group() -> None:
    assert sorted(record for fold in SVDB_FOLDS for record in fold) == sorted(SVDB)


def test_the_fibrillation_model_is_not_trained_on_its_test() -> None:
    assert not set(MITDB_TRAINS_VF) & ({"207"} | set(DS2))
