"""Training, test and cross-validation records, split by patient.

Records 201 and 202 of mitdb are one patient, whom the published split puts on both sides. 201 is
therefore left out of training, so that no patient is both in training and in the test.
"""

from __future__ import annotations

from tocsin_agent.lab.patients import DS1, RECORDS, SAME_PATIENT

MITDB, SVDB, VFDB = RECORDS["mitdb"], RECORDS["svdb"], RECORDS["vfdb"]

TRAINING = tuple(record for record in DS1 if record not in SAME_PATIENT)
"""Training records of mitdb; DS2 is the test."""

BEAT_FOLDS = tuple((TRAINING[i::3], SVDB[i::3]) for i in range(3))
"""Three groups of training patients of mitdb and svdb, on which the beat model is chosen."""

VFDB_WITH_VF = ("418", "419", "422", "424", "426", "429", "430", "609")
"""Records of vfdb with ventricular fibrillation or flutter."""

_VFDB_OTHERS = tuple(record for record in VFDB if record not in VFDB_WITH_VF)
VFDB_FOLDS = tuple((r, *_VFDB_OTHERS[i::8]) for i, r in enumerate(VFDB_WITH_VF))
"""Eight groups of vfdb, each with one of the records that have fibrillation or flutter."""

SVDB_FOLDS = tuple(SVDB[i::8] for i in range(8))
"""Eight groups of svdb, one for each group of vfdb."""

MITDB_TRAINS_VF = tuple(record for record in TRAINING if record != "207")
"""Training records of the fibrillation model: 207 has the only ventricular flutter of mitdb, and is
in its test."""
