"""What to tell a work provider whose requests are refused, in plain words, by the reason given."""

# How a reason begins, or its code, and what helps; the first that fits counts.
_BY_REASON = {
    "Is not an ISO-8601 date and time": (
        "Send ISO 8601: 2026-11-21T18:30:00Z, or with another offset. The form below "
        "shows what came."
    ),
    "Has no time of day": ("A date alone is no moment: add the time, 2026-11-21T18:30:00Z."),
    "Must be a string: an ISO-8601": (
        "Send the time as text in quotes, not as a number of seconds."
    ),
    "Must lie between": (
        "Seconds and milliseconds may be mixed up, or a date was left at its default."
    ),
    "Must not be a week date": "Send year, month and day: 2026-11-21T18:30:00Z.",
    "Must not have the hour 24": "Midnight is hour 00 of the next day.",
    "Is too far in the future": (
        "Their clock or their offset is wrong, or it is local time sent as UTC. How far "
        "ahead is taken is a setting of the work provider."
    ),
    "Send exactly one of policyId and driverId": (
        "Each event names its driver once. Neither was found (a field may be misspelt), "
        "or both were."
    ),
    "Differs from": ("Both spellings of one identifier came, and they differ: send one of them."),
    "Must be a string": "Send the identifier as text in quotes.",
    "Must have 1 to": ("An identifier has 1 to 128 characters: it came empty, or far too long."),
    "Must not contain control": "There is a line end, a tab or a NUL within the identifier.",
    "Is given twice": (
        "The same field stands twice in one object; their JSON is put together by hand."
    ),
    "Must be an object": "Each item of a batch is an object in curly brackets.",
    "Send an array of objects": (
        "An object came to a batch address: put it into an array, or send it to /v1/shift/."
    ),
    "Send one object": "An array came to a shift address: send it to /v1/batch/.",
    "A batch has": "Split the batch. An empty one is refused too.",
    "The body is empty": (
        "Nothing was sent: in some clients a redirect or a wrong option loses the body."
    ),
    "The body is not valid JSON": (
        "Form fields or text came instead of JSON; the form below shows it."
    ),
    "The body is not valid UTF-8": "Encode the JSON as UTF-8.",
    "The body broke off": (
        "Fewer bytes came than Content-Length said: the connection was cut, or the "
        "length was taken before encoding."
    ),
    "Values are nested": "Something else than events was sent.",
    "Not a key of ours": (
        "Something else stands where the key should: compare how it begins with the "
        "keys on the work provider's page."
    ),
    "A key of ours copied": (
        "Let them copy the whole key again, or roll it: nobody can look it up."
    ),
    "A key of ours with": ("The header holds the key alone: no scheme but Bearer, no quotes."),
    "A link secret": (
        "They have mixed up two secrets: the API key begins zego_live_ or zego_test_."
    ),
    "No key of ours has": (
        "Ask which installation they meant to call, and issue a key if need be."
    ),
    "The key id": "Somebody made this key up from an id that they know.",
    "No Authorization header": (
        "Their client sends no header of this name, or a proxy removes it."
    ),
    "The Authorization header is empty": (
        "The variable that should hold the key is empty, or was copied with other "
        "characters around it."
    ),
    "The key came in": "Send it as Authorization.",
    "LENGTH_REQUIRED": (
        "Their client sends chunks: let it send the body at once, with Content-Length."
    ),
    "TOO_LARGE": "At most 5 MiB a request: send smaller batches.",
}
_BY_KEY = {
    "was revoked": ("It was revoked on purpose: give them the newer key, or issue one."),
    "expired": ("It had an end, or was rolled: give them the newer key, or issue one."),
    "is not active": "Set the work provider active again, if that is meant.",
    "is good by now": "They were early: nothing is to be done.",
}


def advice_on(words: str, code: str) -> str:
    """How to fix it; what fits no reason says where to look."""
    if words.startswith("Key "):
        return next((help_ for part, help_ in _BY_KEY.items() if part in words), "")
    for beginning, help_ in _BY_REASON.items():
        if words.startswith(beginning) or beginning == code:
            return help_
    return "Compare the form below with the examples on the page for the partner's engineer."
