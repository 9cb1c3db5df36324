"""Which language a text is in: its script by Unicode, languages that share one by py3langid."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Final

from reasonrl.system.extras import needs_extra

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_OTHER_SCRIPTS: Final[Mapping[str, str]] = {
    "Arabic": "ar fa ps ur",
    "Armenian": "hy",
    "Bengali": "as bn",
    "Cyrillic": "be bg kk ky mk mn ru tg uk",
    "Devanagari": "hi mr ne",
    "Ethiopic": "am",
    "Georgian": "ka",
    "Greek": "el",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Hangul": "ko",
    "Han": "zh",
    "Hebrew": "he",
    "Kannada": "kn",
    "Khmer": "km",
    "Lao": "lo",
    "Malayalam": "ml",
    "Myanmar": "my",
    "Oriya": "or",
    "Sinhala": "si",
    "Tamil": "ta",
    "Telugu": "te",
    "Thai": "th",
}
_LATIN: Final = (
    "af ca cs cy da de en es et eu fi fr ga gl ha hr hu id is it lt lv mt nl no pl pt ro sk sl sq sv sw tl tr vi"
)

SCRIPTS: Final[Mapping[str, tuple[str, ...]]] = {
    **{language: (script,) for script, languages in _OTHER_SCRIPTS.items() for language in languages.split()},
    **dict.fromkeys(_LATIN.split(), ("Latin",)),
    "ja": ("Han", "Hiragana", "Katakana"),
    "sr": ("Cyrillic", "Latin"),
}
"""The known languages, by ISO 639-1 code, with the scripts they are written in."""


def language_of(text: str) -> str:
    """Return the most likely of the known languages; a text of a few words is often mistaken."""
    language: str = _identifier().classify(text)[0]
    return language


@cache
def _identifier() -> "LanguageIdentifier":
    """Load the model, which ships with the package: about a second, once per process."""
    with needs_extra("language", "the detection of a language"):
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(sorted(SCRIPTS))
    return identifier
