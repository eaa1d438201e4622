"""Column names and types of the input tables, and the weights of event types.

Types are words (``str``, ``float``, ``int``, ``time``), so that this file needs no data library.
"""

PRODUCTS = {
    "product_id": "str",
    "title": "str",
    "description": "str",
    "category": "str",
    "brand": "str",
    "price": "float",
    "currency": "str",
    "cost": "float",
    "stock": "float",
    "image": "str",
    "media": "str",
    "embedding": "str",
    "available_at": "time",
    "attributes": "str",
}
EVENTS = {
    "timestamp": "time",
    "user_id": "str",
    "type": "str",
    "product_id": "str",
    "session_id": "str",
    "query": "str",
    "position": "int",
    "quantity": "float",
    "price": "float",
    "value": "float",
    "request_id": "str",
    "event_id": "str",
}
USERS = {
    "user_id": "str",
    "email": "str",
    "consent": "str",
    "segments": "str",
    "device": "str",
    "follows": "str",
    "friends": "str",
    "attributes": "str",
}
JUDGMENTS = {"query": "str", "product_id": "str", "grade": "float"}
ADS = {
    "ad_id": "str",
    "product_id": "str",
    "bid": "float",
    "campaign_id": "str",
    "daily_budget": "float",
    "frequency_cap": "float",
    "starts_at": "time",
    "ends_at": "time",
    "audience": "str",
}

TABLES = {"products": PRODUCTS, "events": EVENTS, "users": USERS, "judgments": JUDGMENTS, "ads": ADS}
REQUIRED_COLUMNS = {
    "products": ("product_id", "title"),
    "events": ("timestamp", "user_id", "type"),
    "users": ("user_id",),
    "judgments": ("query", "product_id", "grade"),
    "ads": ("ad_id", "product_id", "bid"),
}
KEY_COLUMNS = {
    "products": ("product_id",),
    "users": ("user_id",),
    "judgments": ("query", "product_id"),
    "ads": ("ad_id",),
}

# Weight of an event type as a signal of preference. Settings may add or change weights; other types have no weight.
EVENT_WEIGHTS = {
    "purchase": 1.0,
    "cart": 0.5,
    "wishlist": 0.5,
    "click": 0.2,
    "view": 0.1,
    "rating": 0.3,
    "share": 0.3,
    "ad_click": 0.2,
}
EVENT_TYPES = frozenset(EVENT_WEIGHTS) | {"remove", "return", "impression", "search", "ad_impression", "label"}
# Columns of the event log beside those of EVENTS; no file may have them. True or null.
ANONYMOUS_COLUMN = "_anonymous"  # sent without the token
OVER_CAP_COLUMN = "_over_cap"  # more than its address or session may add in a day: in no training, in no evidence
