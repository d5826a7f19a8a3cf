"""A word engine of its own package: forward maximum matching over a word list.

At every place the longest word of the list is taken; a run of Latin letters and digits is one word, and any other
character that begins no word stands alone.
"""

import hashlib
import re
from importlib import metadata
from pathlib import Path

from ernie_pipe.errors import InputError
from ernie_pipe.text import user_dictionary as users

_RUN = re.compile("[A-Za-z0-9]+")


class ForwardWords:
    """Cuts by the user dictionary alone, whose tags it gives; there is no HMM to switch on."""

    name = "forward-words"

    def __init__(self, *, hmm: bool = False, user_dictionary: str | None = None) -> None:
        if hmm or not user_dictionary:
            raise InputError("forward-words cuts by a word list: give --user-dictionary FILE, and leave --hmm off")
        self._tags = {word: tag for word, _, tag in users.entries(user_dictionary)}
        self._longest = max(map(len, self._tags))
        self.version = metadata.version("forward-words")
        self.dictionary_hash = hashlib.blake2b(Path(user_dictionary).read_bytes(), digest_size=8).hexdigest()

    def cut(self, text: str) -> list[str]:
        words, start = [], 0
        while start < len(text):
            end = self._end(text, start)
            words.append(text[start:end])
            start = end
        return words

    def _end(self, text: str, start: int) -> int:
        if run := _RUN.match(text, start):
            return run.end()
        for end in range(min(len(text), start + self._longest), start + 1, -1):
            if text[start:end] in self._tags:
                return end
        return start + 1

    def tag(self, text: str) -> list[tuple[str, str]]:
        return [(word, self._tags.get(word, "x")) for word in self.cut(text)]
