"""`python -m ops`: the permitwait command without its console script."""

from ops.cli import main

main()
