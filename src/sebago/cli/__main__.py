"""`python -m sebago.cli` is `sebago`."""

import sys

from sebago.cli.app import main

sys.exit(main())
