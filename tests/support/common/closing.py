"""What begins with a `with` block and ends with it."""

from typing import Self


class Closing:
    """Is closed at the end of a `with` block."""

    def close(self) -> None:
        """End it, and all that belongs to it."""
        raise NotImplementedError

    def __exit__(self, *error: object) -> None:
        self.close()


class Started(Closing):
    """Is started by a `with` block as well; closed at once where that fails."""

    def start(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self
