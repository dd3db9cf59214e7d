"""All calls at a glance, from what is published: of every process, over every store.

call.py           one call as it was looked at last
call_overview.py  all calls, bounded; pure
tally.py          what is counted over all calls
words.py          how the views say things
answers.py        an operator's four questions, in words
service.py        what the service of a page says of itself
time_line.py      what happened in one call; pure
follower.py       reads a store and feeds the overview, so much a second
audience.py       one follower for all who look, and only while they do
"""
