"""The one exception that stands for a user's mistake."""


class UserError(ValueError):
    """A mistake in what the user gave: the message is one line that says what was given and what is allowed.

    The command line prints the message without a traceback and exits with code 2.
    """
