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
