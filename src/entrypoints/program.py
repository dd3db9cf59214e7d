"""The program `rtaa-ingest`, before anything is imported that takes time.

Ctrl-C ends it by the signal, and without a traceback, until its command is imported. A process that
starts another of the same installation runs this as a module.
"""

import signal

if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from entrypoints.cli import main

if __name__ == "__main__":
    main(prog_name="rtaa-ingest")
