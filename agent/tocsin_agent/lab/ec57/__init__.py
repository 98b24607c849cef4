"""The comparisons of ANSI/AAMI EC57 between a reference and a test annotation file.

`annotations` reads the files, and `reading` gives them to the comparisons from front to back.
`beats` compares beat by beat, `runs` run by run, `episodes` episode by episode, `measurements`
measurement by measurement. `statistics` adds the records up, and `report` prints them for people.
Every comparison is a pure function of two `Annotations`; the text of the first three is that of the
WFDB Software Package's programs, to the character.
"""
