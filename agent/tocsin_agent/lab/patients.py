"""The records and patients of the PhysioNet databases: one list of each."""

from __future__ import annotations

_SUBSETS = {
    "ds1": "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 "
    "230",
    "ds2": "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 "
    "234",
}
SUBSETS = {subset: tuple(records.split()) for subset, records in _SUBSETS.items()}
"""The inter-patient split of mitdb: de Chazal et al., IEEE Trans. Biomed. Eng. 51:1196, 2004."""

DS1, DS2 = SUBSETS["ds1"], SUBSETS["ds2"]

SAME_PATIENT = {"201": "202"}
"""Records of mitdb from one patient whom the split puts on both sides: DS1 to DS2."""

PACED = frozenset({"mitdb/102", "mitdb/104", "mitdb/107", "mitdb/217"})
"""Records left out of the classification of beats, as EC57 asks; their QRS complexes count."""

NOISE_RECORDS = ("bw", "em", "ma")
"""The records of nstdb without a patient: baseline wander, electrode motion, muscle artefact."""

STRESSED = frozenset({"mitdb/118", "mitdb/119"})
"""The records from which the other records of nstdb were made."""

_RECORDS = {
    "mitdb": "100 101 102 103 104 105 106 107 108 109 111 112 113 114 115 116 117 118 119 121 122 "
    "123 124 200 201 202 203 205 207 208 209 210 212 213 214 215 217 219 220 221 222 223 228 230 "
    "231 232 233 234",
    "svdb": " ".join(str(n) for n in [*range(800, 813), *range(820, 830), *range(840, 895)]),
    "vfdb": "418 419 420 421 422 423 424 425 426 427 428 429 430 602 605 607 609 610 611 612 614 "
    "615",
    "nstdb": "118e24 118e18 118e12 118e06 118e00 118e_6 119e24 119e18 119e12 119e06 119e00 119e_6",
    "cudb": " ".join(f"cu{n:02d}" for n in range(1, 36)),
    "afdb": "04015 04043 04048 04126 04746 04908 04936 05091 05121 05261 06426 06453 06995 07162 "
    "07859 07879 07910 08215 08219 08378 08405 08434 08455",
    "edb": "e0103 e0104 e0105 e0106 e0107 e0108 e0110 e0111 e0112 e0113 e0114 e0115 e0116 e0118 "
    "e0119 e0121 e0122 e0123 e0124 e0125 e0126 e0127 e0129 e0133 e0136 e0139 e0147 e0148 e0151 "
    "e0154 e0155 e0159 e0161 e0162 e0163 e0166 e0170 e0202 e0203 e0204 e0205 e0206 e0207 e0208 "
    "e0210 e0211 e0212 e0213 e0302 e0303 e0304 e0305 e0306 e0403 e0404 e0405 e0406 e0408 e0409 "
    "e0410 e0411 e0413 e0415 e0417 e0418 e0501 e0509 e0515 e0601 e0602 e0603 e0604 e0605 e0606 "
    "e0607 e0609 e0610 e0611 e0612 e0613 e0614 e0615 e0704 e0801 e0808 e0817 e0818 e1301 e1302 "
    "e1304",
    "qtdb": "sel100 sel102 sel103 sel104 sel114 sel116 sel117 sel123 sel14046 sel14157 sel14172 "
    "sel15814 sel16265 sel16272 sel16273 sel16420 sel16483 sel16539 sel16773 sel16786 sel16795 "
    "sel17152 sel17453 sel213 sel221 sel223 sel230 sel231 sel232 sel233 sel30 sel301 sel302 sel306 "
    "sel307 sel308 sel31 sel310 sel32 sel33 sel34 sel35 sel36 sel37 sel38 sel39 sel40 sel41 sel42 "
    "sel43 sel44 sel45 sel46 sel47 sel48 sel49 sel50 sel51 sel52 sel803 sel808 sel811 sel820 "
    "sel821 sel840 sel847 sel853 sel871 sel872 sel873 sel883 sel891 sele0104 sele0106 sele0107 "
    "sele0110 sele0111 sele0112 sele0114 sele0116 sele0121 sele0122 sele0124 sele0126 sele0129 "
    "sele0133 sele0136 sele0166 sele0170 sele0203 sele0210 sele0211 sele0303 sele0405 sele0406 "
    "sele0409 sele0411 sele0509 sele0603 sele0604 sele0606 sele0607 sele0609 sele0612 sele0704",
    "ludb": " ".join(f"data/{n}" for n in range(1, 201)),
}
RECORDS = {database: tuple(records.split()) for database, records in _RECORDS.items()}
"""All records of a database, by its name."""
