"""What drivers are told, in one place: pages that are no form, one for every way a link can end."""

from typing import NamedTuple

from linking.flows import Outcome


class Words(NamedTuple):
    """A page's title and text, and its HTTP status."""

    status: int
    title: str
    text: str


OUTCOMES = {
    Outcome.LINKED: Words(
        200,
        "You are linked",
        "From now on you are insured whenever {work_provider} tells us that you have logged in.",
    ),
    Outcome.WAITING: Words(
        200,
        "Waiting to be confirmed",
        "You have agreed, and there is nothing more for you to do. {work_provider} confirms new "
        "drivers before the insurance counts; once they have, it holds from the moment you agreed. "
        "We will write to you.",
    ),
    Outcome.ALREADY_LINKED: Words(
        200,
        "You are linked already",
        "There is nothing to do: your account is linked to {work_provider} under this driver id.",
    ),
    Outcome.CANCELLED: Words(
        200,
        "Nothing was linked",
        "You have cancelled. If you change your mind, open the link from {work_provider} again.",
    ),
    Outcome.EXPIRED: Words(
        410,
        "This has taken too long",
        "For your safety a link can be agreed to for 30 minutes after it was opened. Open the link "
        "from {work_provider} again to start anew; your account stays as it is.",
    ),
    Outcome.AGREED_BEFORE: Words(
        410,
        "You have agreed to this link before",
        "To link again, open the link from {work_provider} anew.",
    ),
    Outcome.NOT_A_DRIVER: Words(
        403,
        "This is a staff account",
        "Staff accounts cannot be linked to a work provider. Switch to your own account to go on.",
    ),
    Outcome.UNVERIFIED: Words(
        403,
        "Verify your email address first",
        "We write to you about your insurance, so we need to know that the address is yours. Sign "
        "out and in again: we will send you a code.",
    ),
    Outcome.SANDBOX: Words(
        403,
        "This link is not for this account",
        "One of the two is for tests only, and tests are never mixed with real insurance. Switch to "
        "another account, or ask {work_provider} for the right link.",
    ),
    Outcome.INACTIVE: Words(
        410,
        "{work_provider} does not take part at the moment",
        "We cannot link you now. Ask {work_provider} how to go on.",
    ),
    Outcome.UNSIGNED: Words(
        410,
        "{work_provider} has changed how its links work",
        "Ask {work_provider} for a new link; your account stays as it is.",
    ),
    Outcome.LAPSED: Words(
        410, "This link has expired", "Ask {work_provider} for a new one; it takes them a moment."
    ),
    Outcome.SPENT: Words(
        410,
        "This link has been used",
        "It works once, and somebody has agreed with it. If that was you, your account shows it. "
        "Otherwise ask {work_provider} for a new link.",
    ),
    Outcome.OTHER_DRIVER_ID: Words(
        409,
        "You are linked to {work_provider} under another driver id",
        "An account has one driver id at each work provider. To use the new one, unlink the old one "
        "on your account page first, then open the link again.",
    ),
    Outcome.TAKEN: Words(
        409,
        "We could not link this driver id",
        "It does not fit what we have on record. Nothing has changed, and our team will look at it. "
        "If {work_provider} gave you this link, ask them to check your driver id.",
    ),
}

NO_INTENT = Words(
    410,
    "No link is open",
    "Open the link that your work provider sent you. If you did so more than 30 minutes ago, open "
    "it again to start anew.",
)
MISSING = Words(
    400,
    "This link is not complete",
    "Part of it is missing, perhaps because it was copied or broken over two lines. Open it from "
    "the message again, or ask your work provider to send a new one.",
)
UNKNOWN_WORK_PROVIDER = Words(
    400,
    "We do not know this work provider",
    "The link names a company that we do not insure drivers for at the moment. Ask whoever sent it "
    "for a new one.",
)
BAD_SIGNATURE = Words(
    400,
    "This link cannot be trusted",
    "It was changed after your work provider made it, or is not theirs. Ask them for a new one.",
)
EXPIRED_SIGNATURE = Words(
    400, "This link has expired", "Ask your work provider for a new one; it takes them a moment."
)
SPENT_SIGNATURE = Words(
    400,
    "This link has been used",
    "It works once. If you agreed with it, you are linked: sign in to see it. Otherwise ask your "
    "work provider for a new one.",
)
UNDO_EXPIRED = Words(
    410,
    "This link does not work any more",
    "Sign in to see which work providers you are linked to, and unlink there.",
)
UNDONE = Words(
    200,
    "You are not linked any more",
    "A shift that was open has ended. If it was not you who agreed, sign "
    "in and change your password.",
)
