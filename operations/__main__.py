"""Runs a command: `python -m operations`."""

try:
    from operations.commands import main
except KeyboardInterrupt:  # Ctrl-C while Python still imports them
    raise SystemExit(130) from None

if __name__ == "__main__":
    main()
