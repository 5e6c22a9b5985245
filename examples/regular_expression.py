"""A regular expression: the whole answer matches it."""

from __future__ import annotations

import maskwright
from maskwright.embedded import extraction_prompt

TIME = "([01][0-9]|2[0-3]):[0-5][0-9]"


def starting_time(text: str) -> str:
    # The embedded model fills in objects, so it is asked for one up to where the time stands.
    asked = extraction_prompt(text, {"properties": {"start": {"type": "string"}}})
    return str(maskwright.generate(prompt=asked + '{"start": "', regex=TIME))


if __name__ == "__main__":
    print(starting_time("The workshop begins at 09:30 in the town hall and ends at noon."))
