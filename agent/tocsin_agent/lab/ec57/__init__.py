"""The comparisons of ANSI/AAMI EC57 between a reference and a test annotation file.

`annotations` reads the files, `beats` compares them beat by beat, `runs` run by run, `episodes`
episode by episode, `statistics` adds the records up. Every comparison is a pure function of two
`Annotations`; its text is that of the WFDB Software Package's programs, to the character.
"""
