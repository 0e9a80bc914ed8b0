"""The plot by the `rdkafka` crate: the program is the first argument."""

import sys

from kit import Suite, arguments

program = sys.argv.pop(1)
with Suite("rust", arguments()) as suite:
    suite.run([program])
