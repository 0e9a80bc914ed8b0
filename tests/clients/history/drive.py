"""Clients work while the broker is killed, paused and restarted; then their history is checked.

    drive.py [--kills N] [--minutes M] [--seed S] [--folder F] [--damage]

It ends with 0 if no rule is broken; with --damage, which loses records on purpose, if one is. The folder,
which holds the history and the broker's log, is kept where it was named, and after a failure.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from confluent_kafka import Consumer, KafkaException, TopicPartition  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from diary import Diary  # noqa: E402
from weir import binary, free_port  # noqa: E402

PARTITIONS = 3
DAMAGED_BYTES_MAX = 50_000
# How many processes of each kind. There are no more members of a group than partitions: each has work.
PYTHON_ROLES = {"idempotent": 2, "once": 1, "assigned": 2, "group": 2, "prober": 1}
JAVA_ROLES = {"producer": 1, "group": 1}


class Broker:
    def __init__(self, folder):
        self.folder, self.port, self.http = folder, free_port(), free_port()
        self.process = None

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        command = [
            binary(), "broker", "--data-dir", str(self.folder / "data"),
            "--listeners", f"PLAINTEXT://{self.bootstrap}", "--http", f"127.0.0.1:{self.http}",
            "--override", "group.initial.rebalance.delay.ms=100",
        ]  # fmt: skip
        self.log = open(self.folder / "broker.log", "ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 60
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"the broker is not ready (exit code {self.process.poll()}): see {self.folder}/broker.log")
            time.sleep(0.02)

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self, by):
        if self.process.poll() is not None:
            sys.exit(f"the broker ended by itself with {self.process.returncode}: see {self.folder}/broker.log")
        self.process.send_signal(by)
        code = self.process.wait(60)
        if by == signal.SIGTERM and code != 0:
            sys.exit(f"the broker ended with {code} after SIGTERM: see {self.folder}/broker.log")
        self.log.close()


class Crew:
    """The processes of the clients, by role and number."""

    def __init__(self, options, folder, broker, topics):
        self.options, self.folder, self.broker, self.topics = options, folder, broker, topics
        self.members, self.lives, self.running, self.old = [], {}, {}, []

    def hire(self, transactions):
        roles = PYTHON_ROLES | ({"transactions": 2} if transactions else {})
        self.members = [("python", role, n) for role, count in roles.items() for n in range(count)]
        if self.options.java:
            java = JAVA_ROLES | ({"transactions": 1} if transactions else {})
            # Numbers of their own: one transactional id has one owner.
            self.members += [("java", role, 100 + n) for role, count in java.items() for n in range(count)]

    def start(self, member):
        kind, role, number = member
        self.lives[member] = life = self.lives.get(member, 0) + 1
        command = [sys.executable, str(HERE / "worker.py")]
        if kind == "java":
            command = ["java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", self.options.java, "HistoryWorker"]
        command += [
            "--role", role, "--number", str(number), "--life", str(life), "--folder", str(self.folder),
            "--bootstrap", self.broker.bootstrap, "--seed", str(self.options.seed),
            "--partitions", str(PARTITIONS), "--topics", ",".join(self.topics),
        ]  # fmt: skip
        log = open(self.folder / f"{kind}-{role}-{number}.log", "ab")
        self.running[member] = subprocess.Popen(command, stdout=log, stderr=log)

    def start_all(self):
        for member in self.members:
            self.start(member)

    def raise_the_dead(self):
        """A client that ended, because it was fenced or met an error that it cannot heal, comes back."""
        for member, process in list(self.running.items()):
            if process.poll() is not None:
                self.start(member)

    def strike(self, chance):
        """SIGKILL for one client, and another life of it; of a transaction's owner perhaps before."""
        member = chance.choice(self.members)
        victim = self.running[member]
        if member[1] == "transactions" and chance.random() < 0.5:
            self.old.append(victim)
        else:
            victim.kill()
            victim.wait()
        self.start(member)

    def stop(self, roles):
        ending = [p for member, p in self.running.items() if member[1] in roles]
        for process in ending + (self.old if "transactions" in roles else []):
            process.terminate()
        for process in ending:
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running = {m: p for m, p in self.running.items() if m[1] not in roles}
        if "transactions" in roles:
            for process in self.old:
                process.kill()
                process.wait()

    def roles(self):
        return {role for _, role, _ in self.members}


def faults(options, chance, broker, crew, diary):
    kills, began = 0, time.monotonic()
    while kills < options.kills and time.monotonic() - began < options.minutes * 60:
        time.sleep(chance.uniform(0.2, 1.8))
        draw = chance.random()
        if draw < 0.75:
            diary.note("kill", "ok")
            broker.end(signal.SIGKILL)
            kills += 1
            if options.damage:
                damage(broker.folder, chance)
            if chance.random() < 0.2:
                time.sleep(chance.uniform(0, 2))
            broker.start()
        elif draw < 0.9:
            diary.note("pause", "ok")
            broker.process.send_signal(signal.SIGSTOP)
            time.sleep(chance.uniform(0.1, 3))
            broker.process.send_signal(signal.SIGCONT)
        else:
            diary.note("restart", "ok")
            broker.end(signal.SIGTERM)
            broker.start()
        crew.raise_the_dead()
        if chance.random() < 0.2:
            crew.strike(chance)
        if kills and kills % 20 == 0 and draw < 0.75:
            print(f"{kills} kills after {time.monotonic() - began:.0f} s", flush=True)
    return kills


def drain(broker, crew, topics, diary, group, patience_s):
    """Waits until the group has committed all that there is, or commits no more: markers of aborted
    transactions may stand at the end. The checker looks whether it saw every record."""
    # Who reads committed records asks for stable offsets, and while transactions come one after another there are none.
    settings = {"group.id": group, "isolation.level": "read_uncommitted", "log_level": 2}
    consumer = Consumer(settings | {"bootstrap.servers": broker.bootstrap})
    places = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
    deadline, left = time.monotonic() + 240, places
    before, since = None, time.monotonic()
    while left and time.monotonic() < deadline and time.monotonic() - since < patience_s:
        time.sleep(0.3)
        crew.raise_the_dead()
        try:
            done = {(p.topic, p.partition): p.offset for p in consumer.committed(places, 10)}
            ends = {(p.topic, p.partition): consumer.get_watermark_offsets(p, 10)[1] for p in places}
        except KafkaException:
            continue
        if (done, ends) != before:
            before, since = (done, ends), time.monotonic()
        left = [place for place in ends if ends[place] > 0 and done[place] < ends[place]]
    consumer.close()
    print(f"{group} read to the end" if not left else f"{group} commits no more, before the end of {left}", flush=True)
    for p in places:
        diary.note("drained", "ok", group=group, tp=f"{p.topic}-{p.partition}")


def has_transactions(crew):
    crew.members = [("python", "probe", 0)]
    crew.start(crew.members[0])
    code = crew.running.pop(crew.members[0]).wait(60)
    print("with transactions" if code == 0 else "WITHOUT transactions: the broker has none", flush=True)
    return code == 0


def damage(folder, chance):
    """A fault that a broker must not have: the last records of a partition are lost with its process."""
    logs = [log for log in folder.glob("data/**/*.log") if log.stat().st_size and "input-" in str(log)]
    chance.shuffle(logs)
    for log in logs:
        with open(log, "r+b") as file:
            end = len(file.read().rstrip(b"\0"))
            # The very last ones may not have been acknowledged: some more go.
            if end > 1000:
                lost = min(end // 2, DAMAGED_BYTES_MAX)
                file.seek(end - lost)
                file.write(bytes(lost))
                return


def run(options, folder):
    chance = random.Random(options.seed)
    broker = Broker(folder)
    broker.start()
    topics = ["input", "output"]
    admin = AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 2})
    for created in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics]).values():
        created.result()
    diary = Diary(folder, "driver")
    crew = Crew(options, folder, broker, topics)
    crew.hire(has_transactions(crew))
    crew.start_all()
    try:
        time.sleep(3)
        kills = faults(options, chance, broker, crew, diary)
        # All is whole again. Writers end first, then the group has time to read what they left.
        time.sleep(3)
        crew.stop({"idempotent", "once", "producer"})
        if "transactions" in crew.roles():
            # A member that died may hold the group up for its whole session.
            drain(broker, crew, ["input"], diary, "movers", patience_s=60)
            crew.stop({"transactions"})
        drain(broker, crew, topics, diary, "readers", patience_s=15)
        crew.stop(crew.roles())
        crew.members = [("python", "last", 0)]
        crew.start(crew.members[0])
        if crew.running[crew.members[0]].wait(600) != 0:
            sys.exit(f"the last read failed: see {folder}/python-last-0.log")
    finally:
        crew.stop(crew.roles())
        broker.process.kill()
    return kills


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--checker", default=os.environ.get("WEIR_HISTORY_CHECK"), required=False)
    parser.add_argument("--java", default=os.environ.get("WEIR_HISTORY_JAVA"), help="class path of the Java worker")
    parser.add_argument("--damage", action="store_true", help="lose records on purpose: the check must fail")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="weir-history-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {options.seed}, history in {folder}", flush=True)
    began = time.monotonic()
    kills = run(options, folder)
    print(f"{kills} kills, {time.monotonic() - began:.0f} s", flush=True)
    code = subprocess.run([options.checker, str(folder)], check=False).returncode
    if "panicked at" in (folder / "broker.log").read_text("utf-8", "replace"):
        print(f"the broker panicked: see {folder}/broker.log")
        code = code or 1
    if options.damage:
        print("the damage was found" if code == 1 else "FAILED: the damage was not found")
        code = int(code != 1)
    if code == 0 and options.folder is None:
        shutil.rmtree(folder)
    elif code:
        print(f"FAILED: seed {options.seed}, history in {folder}")
    sys.exit(code)


if __name__ == "__main__":
    main()
