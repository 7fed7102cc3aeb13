"""Logs N records and ends in the way its argument names."""

import logging
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor

log = logging.getLogger("ends")
N = int(os.environ.get("N", "200"))
PAUSE = float(os.environ.get("PAUSE", "0.001"))


def work(name: str = "main", count: int = N) -> None:
    for i in range(count):
        log.info("%s %d", name, i)
        if PAUSE >= 0:
            time.sleep(PAUSE)


def child(number: int) -> None:
    work(f"child{number}", 50)


def main(end: str) -> None:
    if end == "fork_exit":
        pid = os.fork()
        work("child" if pid == 0 else "main", 50)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return
    if end.startswith("mp_"):
        context = multiprocessing.get_context(end[3:])
        children = [context.Process(target=child, args=(i,)) for i in range(3)]
        for one in children:
            one.start()
        for one in children:
            one.join()
        return
    if end == "pool":
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(child, range(3)))
        return
    work()
    print("done", flush=True)
    if end == "sys_exit":
        sys.exit(3)
    if end == "exception":
        raise ValueError("nobody catches this")
    if end == "os_exit":
        os._exit(4)
    if end == "reset":
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        log.info("main after the reset")
        os.kill(os.getpid(), signal.SIGTERM)
    if end == "wait":
        signal.pause()
    if end == "handled":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
        print("ready", flush=True)
        signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
