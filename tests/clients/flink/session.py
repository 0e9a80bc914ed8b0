"""FlinkSession.java as Python sees it: statements in, rows out, each within a time."""

import json
import os
import queue
import subprocess
import threading

# What Flink asks for on Java 17, of the list in its own config.yaml that SQL needs.
OPENED = ["java.lang", "java.util", "java.util.concurrent", "java.time", "java.nio", "java.net"]
QUIET = "-Dorg.slf4j.simpleLogger"


class Session:
    def __init__(self, log):
        self.path = log
        log = open(log, "ab")
        self.process = subprocess.Popen(
            ["java", "-Xmx768m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", f"{QUIET}.defaultLogLevel=warn",
             # Whether and why a job restarts is told here.
             f"{QUIET}.log.org.apache.flink.runtime.executiongraph.ExecutionGraph=info",
             *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
             "-cp", os.environ["FLINK_CLASS_PATH"], "FlinkSession"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        self.answers = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.answers.put(json.loads(line))
        self.answers.put({"error": "the session ended"})

    def tell(self, verb, text, seconds=60):
        """The answers, without the one that ends them. After one that is late the session is of no use."""
        if self.process.poll() is not None:
            raise AssertionError("the session has ended")
        self.process.stdin.write(f"{verb} {' '.join(text.split())}\n")
        self.process.stdin.flush()
        found = []
        while True:
            try:
                answer = self.answers.get(timeout=seconds)
            except queue.Empty:
                self.process.kill()
                raise AssertionError(f"{len(found)} answers, then none within {seconds} s: {text}") from None
            if "error" in answer:
                raise AssertionError(f"{causes(answer['error'])}; {text}")
            if "done" in answer:
                return found
            found.append(answer)

    def set(self, key, value):
        """For all jobs that follow: Flink has no way back to a default."""
        self.tell("set", f"{key}={value}")

    def run(self, statement):
        self.tell("run", statement)

    def rows(self, query):
        """Rows of a query that only adds."""
        return [tuple(answer["row"]) for answer in self.tell("rows", query)]

    def changes(self, query):
        """(kind, row) of each change."""
        return [(answer["kind"], tuple(answer["row"])) for answer in self.tell("rows", query)]

    def begin(self, insert):
        return self.tell("begin", insert)[0]["job"]

    def status(self, job):
        return self.tell("status", str(job))[0]["status"]

    def cancel(self, job):
        self.tell("cancel", str(job))

    def restarts(self):
        """How often a job went into its restart strategy."""
        return self.log().count("switched from state RUNNING to RESTARTING")

    def replaced(self):
        """How often a task manager was lost and another started."""
        return self.log().count("a task manager is replaced")

    def log(self):
        return self.path.read_text("utf-8", "replace")

    def close(self):
        self.process.kill()
        self.process.wait()


def causes(trace):
    """The first line of a Java trace and of each cause, the deepest last."""
    lines = [line for line in trace.splitlines() if line and not line.startswith("\t")]
    return " <- ".join(dict.fromkeys(line.removeprefix("Caused by: ")[:250] for line in lines))[-900:]
