"""Read text files that a user names; what is wrong with one is a single sentence."""

from pathlib import Path

from reasonrl.errors import ReasonRLError

_BYTE_ORDER_MARKS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_text(path: Path, error: type[ReasonRLError], what: str = "") -> str:
    """Return the text of a UTF-8 file, without the byte-order mark that some editors write, line ends as ``\\n``.

    Args:
        path: the file.
        error: what is raised.
        what: what the file is, for the message: ``the run file``.

    Raises:
        ReasonRLError: of the given class: it is not there, a folder, unreadable, of another encoding, or no text.
    """
    named = f"{path}: {what} ".replace("  ", " ")
    try:
        content = path.read_bytes()
    except OSError as cause:
        failed = f"cannot read {what}" if what else "cannot be read"
        raise error(f"{path}: {failed}: {_cause(path, cause)}.") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        raise error(f"{named}{_encoding(content, cause)}.") from None
    if "\0" in text:
        raise error(f"{named}is not text: it holds a NUL byte.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _cause(path: Path, error: OSError) -> str:
    """Say why a file cannot be read."""
    if path.is_symlink() and not path.exists():
        return f"it is a link to {path.readlink()}, which is not there"
    if isinstance(error, IsADirectoryError):
        return "it is a folder, not a file"
    return error.strerror or str(error)


def _encoding(content: bytes, error: UnicodeDecodeError) -> str:
    """Say what is in the place of UTF-8."""
    if name := _BYTE_ORDER_MARKS.get(content[:2]):
        return f"is not UTF-8 text, but {name}: save it as UTF-8"
    if b"\0" in content:
        return "is not text: it holds a NUL byte"
    line = content[: error.start].count(b"\n") + 1
    return f"is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}, in line {line}. Save it as UTF-8"
