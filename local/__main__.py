"""``python -m local``: the cloud on one machine, or one part of it."""

import sys

USAGE = """usage: python -m local [run | host | microsoft | pbx] [--help]

  run        everything, and a first sync of the sample tenant (the default)
  host       only the Functions host, with the environment as given
  microsoft  only the emulator of Entra, Graph and Key Vault
  pbx        only the emulator of the PBX"""


def main(argv: list[str]) -> int:
    """Run the part that the first argument names."""
    if argv and argv[0] in {"-h", "--help"}:
        print(USAGE)
        return 0
    part, arguments = (argv[0], argv[1:]) if argv and not argv[0].startswith("-") else ("run", argv)
    match part:
        case "run":
            from local.run import main as run

            return run(arguments)
        case "host":
            from local.host.cli import main as host

            return host(arguments)
        case "microsoft":
            from local.microsoft.cli import main as microsoft

            return microsoft(arguments)
        case "pbx":
            from local.pbx.cli import main as pbx

            return pbx(arguments)
        case _:
            print(f"There is no part called {part}.\n\n{USAGE}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
