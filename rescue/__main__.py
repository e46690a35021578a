"""``python -m rescue``."""

from rescue.cli.main import main

raise SystemExit(main())
