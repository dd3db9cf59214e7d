"""An overview of all calls from the published streams, over all processes and any store.

call.py           one call, as of the last look
condition.py      the state of a call
call_overview.py  all calls, bounded; pure
selection.py      the visible calls of a view
tally.py          counts over all calls
words.py          texts of the views
answers.py        the answers to an operator's four questions
outages.py        outages of the broker
service.py        the state of the page's own service
door.py           refused handshakes
time_line.py      the events of one call, by its entries; pure
moments.py        single moments, sorted, with causes
call_line.py      the moments of one call, with those that only the view saw
watched.py        the entries of one call, read for its time line
follower.py       reads a store at a limited rate and feeds the overview
audience.py       one follower for all viewers, only while there are any
"""
