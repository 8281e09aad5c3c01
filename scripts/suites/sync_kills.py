"""kill -9 at the numbered steps of a pass and at random moments: the next plain run finishes, and nothing is lost."""

import os
import random
import signal
import time

from sync_lab import DONE, LEFT, LONG, Room

room = Room()
KILLED = -signal.SIGKILL
SEED = int(os.environ.get("SYNC_SEED", "0")) or time.time_ns() % 1_000_000


KEPT = ["ours", "theirs", "edited here", "edited there", "moved here", "moved there"]


def scene(one, other, round_):
    """Every kind of change on either side, in a directory of its own."""
    at = f"r{round_}"
    for path in ("both", "here", "there", "delete here", "delete there"):
        one.write(f"{at}/{path}", f"{path} {at}")
    one.write(f"{at}/from/move", f"moved here {at}")
    one.write(f"{at}/from/other", f"moved there {at}")
    one.sync()
    other.sync()
    other.write(f"{at}/both", f"theirs {at}")
    other.write(f"{at}/there", f"edited there {at}")
    other.delete(f"{at}/delete there")
    other.rename(f"{at}/from/other", f"{at}/other")
    other.sync()
    one.write(f"{at}/both", f"ours {at}")
    one.write(f"{at}/here", f"edited here {at}")
    one.delete(f"{at}/delete here")
    one.rename(f"{at}/from/move", f"{at}/to/move")
    one.at(f"{at}/hollow").mkdir()


def nothing_is_lost(site, one, other, round_, how):
    """One plain run finishes here, and the other machine follows."""
    at = f"r{round_}"
    one.sync()
    other.sync()
    one.sync()
    site.must_be_alike(one, other)
    found = [body.decode() for path, body in one.files().items() if path.startswith(f"{at}/")]
    for body in KEPT:
        assert found.count(f"{body} {at}") == 1, f"{body!r}, {how}: {found}"
    assert not [body for body in found if body.startswith("delete")], f"{how}: {found}"
    assert not one.half_received(), how


@room.case
def pain_21_killed_at_every_step_the_next_plain_run_finishes(site):
    """A program that was built for tests kills itself at the step that is asked for."""
    one, other = site.two()
    first, stride = (0, 1) if LONG else (SEED % 9, 9)
    killed, step = 0, first
    while True:
        scene(one, other, step)
        said = one.sync(code=None, env={"ARTIFACTS_TEST_KILL_AT_STEP": str(step)})
        if said.code != KILLED:
            assert said.code in (DONE, LEFT), said
            break
        nothing_is_lost(site, one, other, step, f"killed at step {step}")
        killed += 1
        step += stride
    assert step > 20, f"only {step} steps; is it a release build?"
    return f"{killed} of {step} steps"


@room.case
def pain_21_killed_at_random_moments_the_next_plain_run_finishes(site):
    one, other = site.two()
    dice, killed, round_ = random.Random(SEED), 0, 0
    wanted = 120 if LONG else 8
    scene(one, other, "measured")
    begun = time.monotonic()
    one.sync()
    took = time.monotonic() - begun
    while killed < wanted:
        assert round_ < 5 * wanted, f"only {killed} runs were killed, seed {SEED}"
        scene(one, other, round_)
        for _ in range(3):
            run = one.start()
            time.sleep(dice.uniform(0, took))
            run.kill()
            if run.wait() != KILLED:
                # The machine was busier when it was measured. All is done now: the next kill needs another scene.
                took *= 0.7
                break
            killed += 1
        nothing_is_lost(site, one, other, round_, f"seed {SEED}, round {round_}")
        round_ += 1
    return f"{killed} kills in {round_} rounds, seed {SEED}"


@room.case
def pain_21_a_watch_that_is_killed_goes_on_where_it_was(site):
    one, other = site.two()
    one.folder.mkdir()
    dice = random.Random(SEED)
    follower = other.watch()
    for round_ in range(20 if LONG else 3):
        watching = one.watch()
        for number in range(15):
            one.write(f"r{round_}/f{number}", f"{round_} {number}", age=0)
            if number % 4 == 3:
                one.delete(f"r{round_}/f{number - 1}")
            time.sleep(dice.uniform(0, 0.1))
        time.sleep(dice.uniform(0, 1.5))
        watching.kill()
    last = one.watch()
    site.watched_alike()
    for watching in (last, follower):
        watching.stop()
    site.settle()
    assert not one.copies() and len(one.files()) == (20 if LONG else 3) * 12, sorted(one.files())
