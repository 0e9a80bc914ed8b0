"""The broker as librdkafka sees it: makes topics, feeds them, and judges what Flink has written."""

import dataclasses
import json
import time

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic


@dataclasses.dataclass
class Record:
    partition: int
    offset: int
    timestamp: int
    key: str
    value: str
    headers: dict


class Log:
    def __init__(self, bootstrap):
        self.bootstrap = {"bootstrap.servers": bootstrap, "log_level": 0}  # It tells each attempt to connect.
        self.flink = f"'properties.bootstrap.servers' = '{bootstrap}'"  # Of the options of a table in Flink.
        self.admin = AdminClient(self.bootstrap)

    def create(self, topic, partitions, configs=None):
        for made in self.admin.create_topics([NewTopic(topic, partitions, 1, config=configs or {})]).values():
            made.result(30)

    def producer(self):
        """One that outlasts kills of the broker without losing or repeating a record."""
        return Producer({**self.bootstrap, "enable.idempotence": True, "message.timeout.ms": 600_000,
                         "socket.timeout.ms": 10_000, "reconnect.backoff.max.ms": 500})  # fmt: skip

    def feed(self, topic, rows):
        """Writes (key, row) as JSON."""
        producer = self.producer()
        for key, row in rows:
            producer.produce(topic, json.dumps(row), key)
            producer.poll(0)
        producer.flush(60)

    def ends(self, topic, seconds=60):
        """The end of each partition; the broker may be about to come back."""
        consumer, deadline = Consumer({**self.bootstrap, "group.id": "judge"}), time.monotonic() + seconds
        while True:
            try:
                partitions = consumer.list_topics(topic, 10).topics[topic].partitions
                return {n: consumer.get_watermark_offsets(TopicPartition(topic, n), 10)[1] for n in sorted(partitions)}
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"ends of {topic}: {error}") from error
                time.sleep(0.5)

    def read(self, topic, isolation="read_committed", seconds=60):
        """Every record up to where the partitions now end; with read_committed no further than what is stable."""
        consumer = Consumer({**self.bootstrap, "group.id": "judge", "isolation.level": isolation,
                             "enable.partition.eof": True, "enable.auto.commit": False})  # fmt: skip
        left = set(self.ends(topic))
        consumer.assign([TopicPartition(topic, n, 0) for n in left])
        records, deadline = [], time.monotonic() + seconds
        while left:
            if time.monotonic() > deadline:
                raise AssertionError(f"{topic}: {len(records)} records, partitions {left} not read to their end")
            for message in consumer.consume(1000, 0.2):
                if not message.error():
                    key, value = message.key(), message.value()
                    records.append(Record(
                        message.partition(), message.offset(), message.timestamp()[1], key and key.decode(),
                        value and value.decode(), {name: of.decode() for name, of in message.headers() or []},
                    ))  # fmt: skip
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                elif message.error().fatal():
                    raise AssertionError(str(message.error()))
        consumer.close()
        return records

    def committed(self, group):
        """Offsets of a group by partition."""
        found = self.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(30)
        return {place.partition: place.offset for place in found.topic_partitions}
