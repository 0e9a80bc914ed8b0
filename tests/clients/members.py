"""Members of consumer groups, each in a thread of its own, with one face for three clients.

A member subscribes to one topic, notes what it reads as (partition, offset, value), how often it was
given partitions and which it had to give back, and commits what it has read when it is closed.
"""

import asyncio
import threading
import time


# What ends a member of librdkafka, which by itself goes on trying, or says nothing more.
REFUSALS = ("_FATAL", "INCONSISTENT_GROUP_PROTOCOL", "INVALID_SESSION_TIMEOUT", "GROUP_MAX_SIZE_REACHED")


class Member:
    """The thread and what it notes; the subclasses know one client each."""

    def __init__(self, bootstrap, topic, group, instance=None, **settings):
        self.bootstrap, self.topic, self.group, self.instance = bootstrap, topic, group, instance
        self.settings = settings
        self.seen, self.assigned, self.assignments, self.error = [], set(), 0, None
        self.given_back = set()
        self.stopping = False
        self.thread = threading.Thread(target=self.guarded, daemon=True)
        self.thread.start()

    def guarded(self):
        try:
            self.run()
        except Exception as error:  # told by the check that waits for this member
            self.error = error

    def given(self, partitions):
        partitions = set(partitions)
        if partitions != self.assigned:
            self.assigned, self.assignments = partitions, self.assignments + 1

    def took(self, places):
        """Partitions that came to it; librdkafka only."""

    def gave_back(self, places):
        if not self.stopping:
            self.given_back.update(place.partition for place in places)

    def close(self):
        self.stopping = True
        self.thread.join(60)
        if self.thread.is_alive():
            raise AssertionError(f"a {self.name} member does not close")
        if self.error:
            raise self.error


class LibrdkafkaMember(Member):
    name = "librdkafka"

    def run(self):
        import confluent_kafka

        settings = {
            "bootstrap.servers": self.bootstrap, "group.id": self.group, "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000, "heartbeat.interval.ms": 300, "reconnect.backoff.max.ms": 500,
            **({"group.instance.id": self.instance} if self.instance else {}), **self.settings,
        }  # fmt: skip
        if settings.get("group.protocol") == "consumer":
            del settings["session.timeout.ms"], settings["heartbeat.interval.ms"]
        consumer = confluent_kafka.Consumer(settings)
        consumer.subscribe(
            [self.topic], on_assign=lambda _, places: self.took(places),
            on_revoke=lambda _, places: self.gave_back(places),
        )  # fmt: skip
        while not self.stopping:
            message = consumer.poll(0.1)
            self.given(place.partition for place in consumer.assignment())
            if message is None:
                continue
            if error := message.error():
                if error.name() in REFUSALS:
                    raise confluent_kafka.KafkaException(error)
                continue
            self.seen.append((message.partition(), message.offset(), message.value()))
        consumer.close()


class KafkaPythonMember(Member):
    name = "kafka-python"

    def run(self):
        import kafka

        member = self

        class Listener(kafka.ConsumerRebalanceListener):
            def on_partitions_revoked(self, revoked):
                member.gave_back(revoked)

            def on_partitions_assigned(self, assigned):
                pass

        settings = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 300, **self.settings}
        consumer = kafka.KafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=self.group, auto_offset_reset="earliest",
            group_instance_id=self.instance, **settings,
        )  # fmt: skip
        consumer.subscribe([self.topic], listener=Listener())
        while not self.stopping:
            for place, records in consumer.poll(timeout_ms=100).items():
                self.seen.extend((place.partition, record.offset, record.value) for record in records)
            self.given(place.partition for place in consumer.assignment())
        consumer.close()


class AiokafkaMember(Member):
    name = "aiokafka"

    def run(self):
        asyncio.run(self.read())

    async def read(self):
        import aiokafka

        settings = {"session_timeout_ms": 6000, "heartbeat_interval_ms": 300, **self.settings}
        consumer = aiokafka.AIOKafkaConsumer(
            self.topic, bootstrap_servers=self.bootstrap, group_id=self.group, auto_offset_reset="earliest",
            group_instance_id=self.instance, **settings,
        )  # fmt: skip
        try:
            await consumer.start()
            while not self.stopping:
                for place, records in (await consumer.getmany(timeout_ms=100)).items():
                    self.seen.extend((place.partition, record.offset, record.value) for record in records)
                self.given(place.partition for place in consumer.assignment())
        finally:
            await consumer.stop()


MEMBERS = (LibrdkafkaMember, AiokafkaMember, KafkaPythonMember)


def settle(seconds=0.5):
    """Lets members read on for a moment, to see whether they read too much."""
    time.sleep(seconds)
