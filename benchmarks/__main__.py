"""``make bench``: every benchmark, one after the other. Ratios are of one run; single figures depend on the machine."""

from benchmarks import (
    changes,
    graph_read,
    group_runs,
    host_speed,
    imports,
    listing,
    notifications,
    presence,
    sync_runs,
)


def main() -> None:
    """Print all benchmarks."""
    imports.main()
    print()
    host_speed.main()
    print()
    graph_read.main()
    print()
    notifications.main([])
    print()
    changes.main([])
    print()
    presence.main([])
    print()
    sync_runs.main()
    print()
    group_runs.main()
    print()
    listing.main()


if __name__ == "__main__":
    main()
