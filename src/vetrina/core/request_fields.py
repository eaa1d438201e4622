"""Types of the fields of request bodies, with their bounds.

``core.limits`` holds the figures. One rule for ids: 1 to 256 characters, none of them a control character.
"""

from typing import Annotated

from msgspec import Meta

from vetrina.core.limits import (
    MAX_ID_CHARS,
    MAX_LINE_CHARS,
    MAX_MONEY,
    MAX_POSITION,
    MAX_QUANTITY,
    MAX_QUERY_CHARS,
    MAX_REFERENCE_CHARS,
    MAX_STOCK,
    MAX_TEXT_CHARS,
    NO_CONTROL_CHARACTER,
    NO_CONTROL_CHARACTER_BUT_BLANKS,
)

_MAX_PAGE_PRODUCTS = 200

Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_CHARS, pattern=NO_CONTROL_CHARACTER)]
Reference = Annotated[str, Meta(min_length=1, max_length=MAX_REFERENCE_CHARS, pattern=NO_CONTROL_CHARACTER)]
Name = Annotated[str, Meta(max_length=MAX_REFERENCE_CHARS, pattern=NO_CONTROL_CHARACTER)]
Query = Annotated[str, Meta(max_length=MAX_QUERY_CHARS, pattern=NO_CONTROL_CHARACTER_BUT_BLANKS)]
SearchQuery = Annotated[str, Meta(min_length=1, max_length=MAX_QUERY_CHARS, pattern=NO_CONTROL_CHARACTER_BUT_BLANKS)]
Line = Annotated[str, Meta(max_length=MAX_LINE_CHARS, pattern=NO_CONTROL_CHARACTER)]
Title = Annotated[str, Meta(min_length=1, max_length=MAX_LINE_CHARS, pattern=NO_CONTROL_CHARACTER_BUT_BLANKS)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARS, pattern=NO_CONTROL_CHARACTER_BUT_BLANKS)]
Money = Annotated[float, Meta(ge=0, le=MAX_MONEY)]
Quantity = Annotated[float, Meta(ge=0, le=MAX_QUANTITY)]
Stock = Annotated[float, Meta(ge=0, le=MAX_STOCK)]
Position = Annotated[int, Meta(ge=0, le=MAX_POSITION)]
Limit = Annotated[int, Meta(ge=1, le=200)]
Offset = Annotated[int, Meta(ge=0, le=10_000)]
PageProducts = Annotated[list[Id], Meta(max_length=_MAX_PAGE_PRODUCTS)]
