"""Text that nobody wrote for a terminal or a report, such as a model's, as it may be shown in one."""


def visible(text: str) -> str:
    """Return text with everything that steers a terminal, line ends too, written out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def block(text: str, longest: int) -> str:
    """Return text as an indented block, cut after so many characters."""
    shown = text if len(text) <= longest else f"{text[:longest]}\n... ({len(text)} characters in all)"
    return "\n".join(f"    {visible(line)}" for line in shown.split("\n"))
