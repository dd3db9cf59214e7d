"""An overview of all calls from the published streams, over all processes and any store.

call.py           one call, as of the last look
condition.py      what a call is doing
call_overview.py  all calls, bounded; pure
selection.py      the calls that a view shows
tally.py          counts over all calls
words.py          texts of the views
answers.py        an operator's four questions, in words
outages.py        times in which the broker was away
service.py        the state of the page's own service
door.py           the handshakes that it refused
time_line.py      what happened in one call, by its entries; pure
moments.py        single moments, sorted, with causes
call_line.py      the moments of one call, with those that only the view saw
watched.py        the entries of one call, read for its time line
follower.py       reads a store at a limited rate and feeds the overview
audience.py       one follower for all viewers, only while there are any
"""
