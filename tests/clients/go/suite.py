"""The plot by Go's clients: one program with an adapter for each."""

import os

from kit import Suite, arguments

with Suite("go", arguments()) as suite:
    suite.run([os.environ["WEIR_CACHE"] + "/go-plot"])
