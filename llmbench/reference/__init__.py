"""The pages of docs/ that are made from what they describe: `python -m llmbench.reference docs`."""
