"""The rules of a call: pure values and one automaton, without I/O, clock or library.

Read in this order: `identifiers`, `sequence`, `media`, `ledger`, `events`, `interaction`, `head`,
`starting`, `fold`, `placement`, `rebase`, `orphans`. Then `access`, `audio_health` and `pace`.
"""
