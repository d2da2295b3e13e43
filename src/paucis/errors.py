"""What a user did that cannot work, said in one line."""


class PaucisError(Exception):
    """A problem with the input that its user can mend.

    The message is one line that names the file or the key and the remedy. The command line prints it on standard
    error and leaves with exit code 2; a traceback appears only with ``--debug``.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))
