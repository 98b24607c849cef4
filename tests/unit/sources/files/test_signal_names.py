from __future__ import annotations

from collections.abc import Sequence

import pytest

from tocsin_agent.sources.files.signal_names import (
    Role,
    ecg_leads,
    mv_per_unit,
    role_of,
    split_unit,
)


@pytest.mark.parametrize(
    ("role", "names"),
    [
        (
            Role.ECG,
            (
                "I,II,aVR,avf,V1,v6,MLII,MCL1,ECG,ECG1,ECG 2,chest_ecg,ECG chest lead,ECG_start,"
                "FECG,vx,Lead I,ecg lead II,EXG Channel 0,D3,V3R,ECGSample,EKG"
            ),
        ),
        (
            Role.OTHER,
            (
                "wrist_ppg,PLETH,RESP,Resp. Imp.,ABP,ART,PAP,CVP,SpO2,HR,heartRate,Heart rate,"
                "EEG Fpz-Cz,EOG(L),EMG,Fp2-F4,foot GSR,ECG-derived respiration,Accelerometer_X,"
                "acc_x,UC,HRV,DEV_Temperature,CO2,Accel Channel 0,ECG_Rate,ECG_R_Peaks,ECG IBI,"
                "ECG_Phase_Atrial,ecg_hr"
            ),
        ),
        (Role.CLOCK, "time,t,Time,timestamp,Phone timestamp,timer,datetime,Elapsed time,ms"),
        (Role.COUNTER, "sample,sample #,Sample Index,index,,nSeq,row"),
        (Role.LABEL, "label,annotation,EDF Annotations,Marker,class,trigger,Quality"),
        (Role.CHEST, "CHEST,ABDO,THOR,Thorax_1,Abdomen_1"),
        (Role.UNKNOWN, "Heart,col 0,signal,channel 1,x"),
    ],
)
def test_what_a_name_says(role: Role, names: str) -> None:
    assert {name: role_of(name) for name in names.split(",")} == dict.fromkeys(
        names.split(","), role
    )


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("chest_ecg", "wrist_ppg"), [0]),
        (("RESP", "ECG_start"), [1]),
        (("Heart", "RESP"), [0]),
        (("Thorax_1", "Abdomen_1"), [0]),
        (("CHEST", "ABDO"), []),
        (("II", "foo", "V5"), [0, 2]),
        (("foo", "bar"), [0, 1]),
        (("PLETH", "ABP"), []),
        (("ECG_Raw", "ECG_Clean", "ECG_Rate"), [0]),
        (("ecg_filtered", "label"), [0]),
    ],
)
def test_which_signals_are_leads(names: Sequence[str], chosen: list[int]) -> None:
    assert ecg_leads(names) == chosen


@pytest.mark.parametrize(
    ("heading", "name", "unit"),
    [
        ("ECG (mV)", "ECG", "mV"),
        ("ecg [uV]", "ecg", "uV"),
        ("ECG/mV", "ECG", "mV"),
        ("ecg_mv", "ecg", "mv"),
        ("time_ms", "time", "ms"),
        ("timestamp [ms]", "timestamp", "ms"),
        ("chest_ecg", "chest_ecg", None),
        ("lead_v", "lead_v", None),
        ("V", "V", None),
        ("Lead II", "Lead II", None),
    ],
)
def test_units_in_headings(heading: str, name: str, unit: str | None) -> None:
    assert split_unit(heading) == (name, unit)


@pytest.mark.parametrize("unit", ["uV", "µV", "μV", "\ufffdV", "ÂµV", "[uV]", "microvolts", "UV"])
def test_micro_in_every_encoding(unit: str) -> None:
    assert mv_per_unit(unit) == 1e-3
