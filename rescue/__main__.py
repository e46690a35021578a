"""``python -m rescue``."""

from rescue.cli.entry import main

raise SystemExit(main())
