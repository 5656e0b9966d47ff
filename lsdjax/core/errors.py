"""The one exception for a user's mistakes."""


class UserError(ValueError):
    """Something the user can mend: one line that names the value and what was expected.

    The command line prints it without a traceback and exits with status 2; the server sends it to
    the client as an `error` message.
    """
