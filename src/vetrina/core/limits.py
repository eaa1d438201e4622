"""Limits of the values that a shop takes from outside: lengths of text, sizes of numbers, depth of attributes.

The HTTP API states them in its OpenAPI document, the Python API and ingestion apply the same. Every number that is taken is
finite, and no sum of them reaches the end of a float.
"""

MAX_ID_CHARS = 256  # of a user, a session, a product; the columns of the store hold them
MAX_REFERENCE_CHARS = 64  # of what names a request, an event, a version, a run, a release or a verdict
MAX_QUERY_CHARS = 512
MAX_LINE_CHARS = 2_000  # of a title, a brand, a path of categories, an address
MAX_TEXT_CHARS = 50_000  # of a description
MAX_VALUE_CHARS = 1_000  # of an attribute, or of a value of a row to predict

MAX_MONEY = 1e12  # in the shop's currency, some of which count in thousands what others count in ones
MAX_QUANTITY = 1e6  # of one event
MAX_STOCK = 1e9
MAX_POSITION = 1_000_000
MAX_NUMBER = 1e15  # of an attribute, or of a row to predict; whole numbers up to it are exact
MAX_SECONDS = 4_102_444_800  # since 1970: the year 2100

MAX_ATTRIBUTES = 200  # of a product
MAX_ATTRIBUTE_VALUES = 100  # of an attribute that is a list or an object, which hold neither lists nor objects
MAX_COLUMNS = 1_000  # of a row to predict
MAX_ROWS = 1_000  # of one request to predict

MAX_FILTER_VALUES = 50  # of category or brand in one request
MAX_FILTER_VALUE_CHARS = 512  # of a path of categories
MAX_FACETS = 8

# Ids and names hold no control character. Longer text may hold tabs and line breaks.
NO_CONTROL_CHARACTER = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
NO_CONTROL_CHARACTER_BUT_BLANKS = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*\Z"
