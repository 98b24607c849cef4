"""Updates of models in the field: signed, checked before use, undone when a model fails.

settings    the section `[model]` of the configuration
files       the three files of a model, and writing that survives a power cut
signature   sign a model card, check a signature
store       what is installed on this device: verify, install, roll back
releases    what this device has used, remembered away from the folder
field       the models that a running agent uses
"""
