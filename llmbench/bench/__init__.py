"""The lab half: datasets, sweeps, scores, evidence and recommendations."""
