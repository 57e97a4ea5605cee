"""What people compute from the model's numbers: pure numpy, no model.

scoring.py      numbers from the logits of one pass: log-probability, entropy, contacts' ranks
variants.py     how variants are written, and where they stand in a sequence
marginals.py    scores of many passes: which passes, and what is read from their outputs
structure.py    true contacts from a PDB or mmCIF file, precision of predicted ones
"""
