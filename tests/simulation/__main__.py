"""``python -m tests.simulation --seed N --days D [--seeds K]``: play seeds and say which law broke, if one did."""

import argparse
import sys

from tests.simulation.troupe import troupe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--days", type=int, default=5, help="days a seed")
    parser.add_argument("--processes", type=int, default=None, help="how many at once; one for each core by default")
    parser.add_argument("--keep-going", action="store_true", help="play the other seeds after a failure")
    options = parser.parse_args()
    broken = 0
    with troupe(min(options.seeds, options.processes) if options.processes else None) as players:
        for outcome in players.play(range(options.seed, options.seed + options.seeds), options.days):
            say(f"{outcome.words}\n" if outcome.is_broken else "", end="")
            say(f"seed {outcome.seed}: {'BROKEN' if outcome.is_broken else outcome.words}")
            broken += outcome.is_broken
            if broken and not options.keep_going:
                break
    return 1 if broken else 0


def say(words: str, end: str = "\n") -> None:
    sys.stdout.write(f"{words}{end}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
