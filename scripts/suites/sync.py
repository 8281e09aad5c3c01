"""Two-way sync as users run it, case by case.

sync.py LAB [WORD…]: LAB is a file that says where the programs and the store are; words choose the cases that have
one of them in their name. Writes one line for each case to the file in RESULT. `length` is short or long.
"""

import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import sync_editors
import sync_faults
import sync_histories
import sync_kills
import sync_names
import sync_pains
import sync_rclone_checks
import sync_rclone_runs
from sync_lab import Lab, Skipped

# Cases wait for the store and for times to pass more than they compute.
AT_ONCE = 6


class Suite:
    def __init__(self, lab):
        self.lab, self.failed, self.lock = lab, 0, threading.Lock()

    def run(self, cases):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(self.report, cases))
        return 1 if self.failed else 0

    def report(self, case):
        name, begun = f"sync {case.__name__}", time.monotonic()
        try:
            measured = case(self.lab)
            line = f"pass {name} ({time.monotonic() - begun:.1f} s{f'; {measured}' if measured else ''})"
        except Skipped as reason:
            line = f"skip {name}: {reason}"
        except Exception as error:
            traceback.print_exc()
            # An assertion without words is told by its source.
            why = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
            line = f"fail {name}: {' '.join(why.split())[:600]}"
        with self.lock:
            self.failed += line.startswith("fail")
            print(line, file=sys.stderr)
            with open(os.environ["RESULT"], "a") as result:
                print(line, file=result)


def cases(words):
    # Those that take long begin first.
    rooms = [sync_histories, sync_kills, sync_editors, sync_faults, sync_pains, sync_names, sync_rclone_runs, sync_rclone_checks]
    found = [case for room in rooms for case in room.room.cases]
    assert len({case.__name__ for case in found}) == len(found), "two cases have one name"
    return [case for case in found if not words or any(word in case.__name__ for word in words)]


if __name__ == "__main__":
    # What was started is ended however this ends.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(1))
    sys.exit(Suite(Lab(sys.argv[1])).run(cases(sys.argv[2:])))
