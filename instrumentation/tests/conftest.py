"""What every test here starts with: signals as a terminal gives them, whoever started the tests."""

import signal


def pytest_configure() -> None:
    """Take signals that this process was told to ignore (nohup, a shell's background) as they are by default.

    A process that is started inherits what is ignored, and would not end when a test asks it to.
    """
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
