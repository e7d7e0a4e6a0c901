"""Answers judged by a model: what is asked, of whom, in which words, and what its replies are worth.

`plan` (what a person declares) -> `questions` (what the results need) -> `prompts` (in which words, by
`fence` and `addressed`) -> `cells` (as calls) -> `verdicts` (what a reply says) -> `judgements` (lines of
judgements.jsonl). `asking` runs them; `doubts` says when a judge does not read its answers, and `injections`
measures whether it obeys them.
"""
