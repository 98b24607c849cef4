"""Alerts, trends and ECG in the formats of other systems: FHIR, HL7 v2, DICOM, EDF+, WFDB, CSV."""
