"""Who may teach and who may only judge: splits by patient, as code.

The inter-patient split of mitdb is that of de Chazal, O'Dwyer & Reilly, IEEE Trans. Biomed. Eng.
51:1196 (2004). Records 201 and 202 are one patient, whom that split puts on both sides: 201 is
therefore left out of training here, so that no patient who teaches is ever judged.
"""

from __future__ import annotations

DS1 = tuple(
    "101 106 108 109 112 114 115 116 118 119 122 "
    "124 201 203 205 207 208 209 215 220 223 230".split()
)
DS2 = tuple(
    "100 103 105 111 113 117 121 123 200 202 210 "
    "212 213 214 219 221 222 228 231 232 233 234".split()
)
PACED = ("102", "104", "107", "217")
SAME_PATIENT = {"201": "202"}
"""Records of one patient; the key is a training record, the value a test record."""

TRAINING = tuple(record for record in DS1 if record not in SAME_PATIENT)

FOLDS = tuple(tuple(TRAINING[i::5]) for i in range(5))
"""Five groups of training patients for cross-validation; every choice is made on these."""

AAMI = {
    **dict.fromkeys("NLRejn", "N"),
    **dict.fromkeys("AaJS", "S"),
    **dict.fromkeys("VE", "V"),
    "F": "F",
    **dict.fromkeys("/fQ?", "Q"),
}
"""Beat annotation to class, after ANSI/AAMI EC57; what is not in it is no beat."""

VFDB = tuple(
    "418 419 420 421 422 423 424 425 426 427 428 429 430 "
    "602 605 607 609 610 611 612 614 615".split()
)
VFDB_FIBRILLATES = ("418", "419", "422", "424", "426", "429", "430", "609")
_VFDB_OTHERS = tuple(record for record in VFDB if record not in VFDB_FIBRILLATES)
VFDB_FOLDS = tuple((r, *_VFDB_OTHERS[i::8]) for i, r in enumerate(VFDB_FIBRILLATES))
"""Groups of vfdb: each has one of the eight records with ventricular fibrillation or flutter."""

SVDB = tuple(str(n) for n in (*range(800, 813), *range(820, 830), *range(840, 895)))
SVDB_FOLDS = tuple(SVDB[i::8] for i in range(8))

MITDB_TEACHES_VF = tuple(record for record in TRAINING if record != "207")
"""207 has the only ventricular flutter of mitdb, and judges."""

BEAT_FOLDS = tuple((TRAINING[i::3], SVDB[i::3]) for i in range(3))
"""Three groups of training patients of mitdb and svdb, by which the beat model is chosen."""

MITDB = tuple(sorted({*DS1, *DS2, *PACED}))
