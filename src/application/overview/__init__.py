"""All calls at a glance, from what is published: of every process, over every store.

call.py           one call as it was looked at last
condition.py      what a call is doing
call_overview.py  all calls, bounded; pure
selection.py      the calls that a view shows
tally.py          what is counted over all calls
words.py          how the views say things
answers.py        an operator's four questions, in words
outages.py        times in which the broker was away
service.py        what the service of a page says of itself
door.py           the handshakes that it refused
time_line.py      what happened in one call, by its entries; pure
moments.py        single moments, sorted, with causes
call_line.py      the moments of one call, with what the view has seen
watched.py        the entries of one call, read for its time line
follower.py       reads a store and feeds the overview, so much a second
audience.py       one follower for all who look, and only while they do
"""
