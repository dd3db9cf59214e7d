"""The environment as texts: `NAME`, or `NAME_FILE` read from a file, under the same rules.

Blanks and line ends around a value are dropped, and so is a byte order mark. A blank `NAME` counts
as one that is not set. A `NAME_FILE` that is blank, or names a file that is, is a wrong value: its
owner meant to set something.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from application.ports.destination import Problem

FILE_SUFFIX = "_FILE"

MAX_FILE_BYTES = 65_536
"""The largest file that is read: keys and lists of addresses are far smaller."""

ACCEPTED_FILE = f"a UTF-8 text file that can be read, not empty, of at most {MAX_FILE_BYTES} bytes"

_BYTE_ORDER_MARK = "\N{ZERO WIDTH NO-BREAK SPACE}"


class _UnusableFile(Exception):
    """A file holds no value; the message is what was found, safe to show."""


@dataclass(frozen=True, slots=True)
class Environment:
    """`texts` by name; `files` are the names whose text comes from a file.

    `problems` are the files that hold no value, `failed` the names that have none because of that.
    """

    texts: Mapping[str, str] = field(repr=False)
    files: frozenset[str]
    failed: frozenset[str]
    problems: tuple[Problem, ...]

    def is_given(self, name: str) -> bool:
        """Whether the operator has set a variable, rightly or wrongly."""
        return name in self.texts or name in self.failed


def read_environment(variables: Mapping[str, str], names: AbstractSet[str]) -> Environment:
    """Read `variables`; each of `names` may come from a file."""
    texts = {name: text for name, value in variables.items() if (text := _bare(value))}
    files, failed, problems = set(), set(), []
    for file_name, path in variables.items():
        name = file_name.removesuffix(FILE_SUFFIX)
        if name == file_name or name not in names or file_name in names:
            continue
        if name in texts:
            problems.append(Problem(file_name, f"both {name} and {file_name}", "one of them"))
            continue
        try:
            texts[name] = _read_file(path.strip())
            files.add(name)
        except _UnusableFile as error:
            failed.add(name)
            problems.append(Problem(file_name, str(error), ACCEPTED_FILE))
    return Environment(texts, frozenset(files), frozenset(failed), tuple(problems))


def _bare(text: str) -> str:
    return text.strip().removeprefix(_BYTE_ORDER_MARK).strip()


def _read_file(path: str) -> str:
    """Return the value in a file. The path is not repeated: it may be a secret set by mistake.

    Raises:
        _UnusableFile: there is none.

    """
    if not path:
        raise _UnusableFile("nothing")
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # bounded: Path reads whole files only
            content = file.read(MAX_FILE_BYTES + 1)
        text = _bare(content.decode())
    except OSError as error:
        raise _UnusableFile(error.strerror or type(error).__name__) from error
    except UnicodeDecodeError as error:
        raise _UnusableFile("a file that is not UTF-8") from error
    except ValueError as error:  # a path with a NUL
        raise _UnusableFile("a path that cannot be opened") from error
    if len(content) > MAX_FILE_BYTES:
        raise _UnusableFile(f"a file of more than {MAX_FILE_BYTES} bytes")
    if not text:
        raise _UnusableFile("an empty file")
    if "\0" in text:
        raise _UnusableFile("a file with NUL characters")
    return text
