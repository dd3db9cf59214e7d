"""`python -m entrypoints.cli`, for a process that starts another of the same installation."""

from entrypoints.cli import main

if __name__ == "__main__":
    main(prog_name="rtaa-ingest")
