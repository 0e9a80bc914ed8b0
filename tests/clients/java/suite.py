"""The plot by Java's kafka-clients: one run for each `version=class path` after `--`."""

import sys

from kit import Suite, arguments

split = sys.argv.index("--")
plots = [plot.split("=", 1) for plot in sys.argv[split + 1 :]]
sys.argv = sys.argv[:split]

with Suite("java", arguments()) as suite:
    for version, class_path in plots:
        quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"
        suite.run(["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", quiet, "-cp", class_path, "Plot"], VERSION=version)
