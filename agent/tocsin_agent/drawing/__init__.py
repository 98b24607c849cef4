"""Pictures: ECG paper at true scale, as SVG by own code, as PNG and PDF by matplotlib.

`shapes` is what a drawing consists of, `paper` draws an ECG on paper with them, `svg` and `picture`
write them. Nothing here knows an alert or a report.
"""
