"""Members of consumer groups, each in a thread of its own, with one face for three clients.

A member subscribes to one topic, notes what it reads as (partition, offset, value), how often it was
given partitions, and commits what it has read when it is closed.
"""

import asyncio
import threading
import time


class Member:
    """The thread and what it notes; the subclasses know one client each."""

    def __init__(self, bootstrap, topic, group, instance=None, **settings):
        self.bootstrap, self.topic, self.group, self.instance = bootstrap, topic, group, instance
        self.settings = settings
        self.seen, self.assigned, self.assignments, self.error = [], set(), 0, None
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
        consumer.subscribe([self.topic])
        while not self.stopping:
            message = consumer.poll(0.1)
            self.given(place.partition for place in consumer.assignment())
            if message is None:
                continue
            if message.error():
                if message.error().fatal():
                    raise confluent_kafka.KafkaException(message.error())
                continue
            self.seen.append((message.partition(), message.offset(), message.value()))
        consumer.close()


class KafkaPythonMember(Member):
    name = "kafka-python"

    def run(self):
        import kafka

        consumer = kafka.KafkaConsumer(
            self.topic, bootstrap_servers=self.bootstrap, group_id=self.group, auto_offset_reset="earliest",
            session_timeout_ms=6000, heartbeat_interval_ms=300, group_instance_id=self.instance, **self.settings,
        )  # fmt: skip
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

        consumer = aiokafka.AIOKafkaConsumer(
            self.topic, bootstrap_servers=self.bootstrap, group_id=self.group, auto_offset_reset="earliest",
            session_timeout_ms=6000, heartbeat_interval_ms=300, group_instance_id=self.instance, **self.settings,
        )  # fmt: skip
        await consumer.start()
        try:
            while not self.stopping:
                for place, records in (await consumer.getmany(timeout_ms=100)).items():
                    self.seen.extend((place.partition, record.offset, record.value) for record in records)
                self.given(place.partition for place in consumer.assignment())
        finally:
            await consumer.stop()


MEMBERS = (LibrdkafkaMember, AiokafkaMember, KafkaPythonMember)


def settle(members, seconds=0.5):
    """Lets members read on for a moment, to see whether they read too much."""
    del members
    time.sleep(seconds)
