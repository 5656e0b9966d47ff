"""`lsdjax serve`: its entry point. Importing this module imports neither JAX nor websockets."""

import json
import sys

from lsdjax.core.errors import UserError
from lsdjax.serve.options import ServeOptions

__all__ = ["ServeOptions", "serve"]


def serve(options: ServeOptions) -> int:
    """Serves until SIGINT or SIGTERM; the exit status: 0, or 1 when the device process died.

    Raises: UserError for a busy port, an unusable checkpoint or a missing sample clip.
    """
    from lsdjax.serve.front import run_front

    return run_front(options)


def main(arguments: list[str]) -> int:
    """Serves the options in the only argument, a JSON object."""
    fields = json.loads(arguments[0]) if arguments else {}
    try:
        several = {name: tuple(fields.get(name, ())) for name in ("plugins", "origins")}
        return serve(ServeOptions(**{**fields, **several}))
    except UserError as error:
        print(f"lsdjax: {error}", file=sys.stderr)
        return 2
