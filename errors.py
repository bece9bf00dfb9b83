"""The base class of every error that the user can mend."""


class UserError(Exception):
    """A mistake in a file, an argument or the environment. Its message says what is wrong and what would be right.

    `pulumi` and the commands show the message without a stack trace.
    """
