"""One face for the clients, so that the same checks run through each of them.

An adapter creates topics, writes records, reads them back, looks up offsets and does the admin calls.
It takes and gives `Record`s and turns each client's errors into Kafka's names (`error_name`). Readers
assign their partitions themselves; `members.py` has those that join groups.
"""

import asyncio
import dataclasses
import json
import shutil
import subprocess
import time

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Record:
    key: bytes | None
    value: bytes | None
    headers: tuple = ()
    timestamp_ms: int = 0
    offset: int = -1


class ClientError(Exception):
    """A client's error by Kafka's name, such as TOPIC_ALREADY_EXISTS."""

    def __init__(self, name, message=""):
        super().__init__(f"{name}: {message}")
        self.name = name


class Librdkafka:
    """confluent-kafka on librdkafka: idempotent, acks=all."""

    name = "librdkafka"
    writes_both_null = True
    writes_null_headers = True

    def __init__(self, bootstrap):
        import confluent_kafka
        import confluent_kafka.admin

        self.kafka = confluent_kafka
        self.admin_module = confluent_kafka.admin
        self.bootstrap = bootstrap
        self.admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": bootstrap})

    def close(self):
        pass

    def wrap(self, error):
        return ClientError(error.name().lstrip("_") if error else "NONE", error.str())

    def result(self, futures):
        try:
            return [future.result(SECONDS) for future in futures.values()][0]
        except self.kafka.KafkaException as error:
            raise self.wrap(error.args[0]) from None

    def create_topic(self, topic, partitions=1, configs=None):
        new = self.admin_module.NewTopic(topic, partitions, 1, config=configs or {})
        self.result(self.admin.create_topics([new]))

    def delete_topic(self, topic):
        self.result(self.admin.delete_topics([topic]))

    def create_partitions(self, topic, total):
        self.result(self.admin.create_partitions([self.admin_module.NewPartitions(topic, total)]))

    def delete_records(self, topic, partition, offset):
        place = self.kafka.TopicPartition(topic, partition, offset)
        return self.result(self.admin.delete_records([place])).low_watermark

    def describe_configs(self, topic):
        resource = self.admin_module.ConfigResource("topic", topic)
        return {name: entry.value for name, entry in self.result(self.admin.describe_configs([resource])).items()}

    def alter_config(self, topic, name, value):
        entry = self.admin_module.ConfigEntry(
            name, value, incremental_operation=self.admin_module.AlterConfigOpType.SET
        )
        resource = self.admin_module.ConfigResource("topic", topic, incremental_configs=[entry])
        self.result(self.admin.incremental_alter_configs([resource]))

    def topics(self):
        metadata = self.admin.list_topics(timeout=SECONDS)
        return {name: len(topic.partitions) for name, topic in metadata.topics.items()}

    def producer(self, codec="none", **settings):
        return self.kafka.Producer({
            "bootstrap.servers": self.bootstrap, "enable.idempotence": True, "acks": "all",
            "compression.type": codec, "linger.ms": 5, "message.max.bytes": 50_000_000, **settings,
        })  # fmt: skip

    def produce(self, topic, partition, records, codec="none"):
        """Writes records and waits for every answer; the offsets, in order."""
        producer = self.producer(codec)
        answers = [None] * len(records)

        def deliver(index):
            def done(error, message):
                answers[index] = error if error else message.offset()

            return done

        for index, record in enumerate(records):
            headers = list(record.headers)
            while True:
                try:
                    producer.produce(
                        topic, record.value, record.key, -1 if partition is None else partition,
                        on_delivery=deliver(index), timestamp=record.timestamp_ms, headers=headers,
                    )  # fmt: skip
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        producer.flush(SECONDS)
        for answer in answers:
            if answer is None:
                raise ClientError("TIMED_OUT", "no answer")
            if isinstance(answer, self.kafka.KafkaError):
                raise self.wrap(answer)
        return answers

    def consumer(self, **settings):
        return self.kafka.Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "unused", "enable.auto.commit": False,
            "enable.partition.eof": True, "auto.offset.reset": "error",
            "allow.auto.create.topics": False, "fetch.message.max.bytes": 10_000_000,
            "fetch.wait.max.ms": 100, **settings,
        })  # fmt: skip

    def read(self, topic, partition=0, start=None):
        """All records from `start` (or the log's start) to the end."""
        consumer = self.consumer()
        from_offset = self.kafka.OFFSET_BEGINNING if start is None else start
        consumer.assign([self.kafka.TopicPartition(topic, partition, from_offset)])
        found = []
        deadline = time.monotonic() + SECONDS
        try:
            while time.monotonic() < deadline:
                for message in consumer.consume(1000, 0.05):
                    error = message.error()
                    if error and error.code() == self.kafka.KafkaError._PARTITION_EOF:
                        return found
                    if error:
                        raise self.wrap(error)
                    headers = tuple(message.headers() or ())
                    found.append(
                        Record(message.key(), message.value(), headers, message.timestamp()[1], message.offset())
                    )
            raise ClientError("TIMED_OUT", f"after {len(found)} records")
        finally:
            consumer.close()

    def ends(self, topic, partition=0):
        consumer = self.consumer()
        try:
            consumer.list_topics(topic, SECONDS)
            return consumer.get_watermark_offsets(self.kafka.TopicPartition(topic, partition), SECONDS)
        finally:
            consumer.close()

    def offset_for_time(self, topic, partition, timestamp_ms):
        consumer = self.consumer()
        try:
            asked = self.kafka.TopicPartition(topic, partition, timestamp_ms)
            found = consumer.offsets_for_times([asked], SECONDS)[0]
            return None if found.offset < 0 else found.offset
        finally:
            consumer.close()

    def commit_offset(self, group, topic, partition, offset):
        consumer = self.consumer(**{"group.id": group})
        try:
            place = self.kafka.TopicPartition(topic, partition, offset)
            consumer.assign([place])
            consumer.commit(offsets=[place], asynchronous=False)
        finally:
            consumer.close()

    def committed_offset(self, group, topic, partition):
        consumer = self.consumer(**{"group.id": group})
        try:
            found = consumer.committed([self.kafka.TopicPartition(topic, partition)], SECONDS)[0]
            return None if found.offset < 0 else found.offset
        finally:
            consumer.close()


class Aiokafka:
    """aiokafka: idempotent, acks=all."""

    name = "aiokafka"
    writes_both_null = False
    writes_null_headers = True

    def __init__(self, bootstrap):
        import aiokafka
        import aiokafka.admin
        import aiokafka.errors

        self.kafka = aiokafka
        self.errors = aiokafka.errors
        self.bootstrap = bootstrap
        self.loop = asyncio.new_event_loop()
        self.admin = self.run(self.started(aiokafka.admin.AIOKafkaAdminClient, bootstrap_servers=bootstrap))

    async def started(self, make, *arguments, **settings):
        client = make(*arguments, **settings)
        await client.start()
        return client

    def run(self, coroutine):
        try:
            return self.loop.run_until_complete(asyncio.wait_for(coroutine, SECONDS))
        except self.errors.BrokerResponseError as error:
            raise ClientError(error.message, str(error)) from None

    def close(self):
        self.run(self.admin.close())
        self.loop.close()

    def check(self, response):
        """Raises the first error that an admin answer carries."""
        rows = getattr(response, "topic_errors", None) or getattr(response, "topic_error_codes", [])
        for row in rows:
            error = self.errors.for_code(row[1])
            if error is not self.errors.NoError:
                raise ClientError(error.message, str(row[2:]))

    def create_topic(self, topic, partitions=1, configs=None):
        new = self.kafka.admin.NewTopic(topic, partitions, 1, topic_configs=configs or {})
        self.check(self.run(self.admin.create_topics([new])))

    def delete_topic(self, topic):
        self.check(self.run(self.admin.delete_topics([topic])))

    def create_partitions(self, topic, total):
        new = self.kafka.admin.NewPartitions(total)
        self.check(self.run(self.admin.create_partitions({topic: new})))

    def delete_records(self, topic, partition, offset):
        place = self.kafka.TopicPartition(topic, partition)
        records = self.kafka.admin.RecordsToDelete(before_offset=offset)
        return self.run(self.admin.delete_records({place: records}))[place]

    def describe_configs(self, topic):
        resource = self.kafka.admin.config_resource.ConfigResource("topic", topic)
        answer = self.run(self.admin.describe_configs([resource]))[0]
        code, message, _, _, entries = answer.resources[0]
        if code:
            raise ClientError(self.errors.for_code(code).message, message)
        return {entry[0]: entry[1] for entry in entries}

    def topics(self):
        rows = self.run(self.admin.describe_topics())
        return {row["topic"]: len(row["partitions"]) for row in rows}

    def produce(self, topic, partition, records, codec="none"):
        async def work():
            producer = await self.started(
                self.kafka.AIOKafkaProducer, bootstrap_servers=self.bootstrap, enable_idempotence=True,
                acks="all", compression_type=None if codec == "none" else codec, linger_ms=5,
                max_request_size=50_000_000,
            )  # fmt: skip
            try:
                answers = [
                    await producer.send(
                        topic, r.value, r.key, partition=partition, timestamp_ms=r.timestamp_ms or None,
                        headers=list(r.headers),
                    )
                    for r in records
                ]  # fmt: skip
                return [(await answer).offset for answer in answers]
            finally:
                await producer.stop()

        return self.run(work())

    async def consumer(self, topic, partition, group=None):
        consumer = await self.started(
            self.kafka.AIOKafkaConsumer, bootstrap_servers=self.bootstrap, enable_auto_commit=False,
            auto_offset_reset="none", max_partition_fetch_bytes=10_000_000, metadata_max_age_ms=5000,
            group_id=group,
        )  # fmt: skip
        place = self.kafka.TopicPartition(topic, partition)
        consumer.assign([place])
        return consumer, place

    def read(self, topic, partition=0, start=None):
        async def work():
            consumer, place = await self.consumer(topic, partition)
            try:
                end = (await consumer.end_offsets([place]))[place]
                if start is None:
                    await consumer.seek_to_beginning(place)
                else:
                    consumer.seek(place, start)
                found = []
                while await consumer.position(place) < end:
                    for message in (await consumer.getmany(place, timeout_ms=500)).get(place, []):
                        found.append(
                            Record(message.key, message.value, tuple(message.headers), message.timestamp, message.offset)
                        )
                return found
            finally:
                await consumer.stop()

        return self.run(work())

    def ends(self, topic, partition=0):
        async def work():
            consumer, place = await self.consumer(topic, partition)
            try:
                start = await consumer.beginning_offsets([place])
                end = await consumer.end_offsets([place])
                return start[place], end[place]
            finally:
                await consumer.stop()

        return self.run(work())

    def offset_for_time(self, topic, partition, timestamp_ms):
        async def work():
            consumer, place = await self.consumer(topic, partition)
            try:
                found = (await consumer.offsets_for_times({place: timestamp_ms}))[place]
                return found and found.offset
            finally:
                await consumer.stop()

        return self.run(work())

    def commit_offset(self, group, topic, partition, offset):
        async def work():
            consumer, place = await self.consumer(topic, partition, group)
            try:
                await consumer.commit({place: offset})
            finally:
                await consumer.stop()

        self.run(work())

    def committed_offset(self, group, topic, partition):
        async def work():
            consumer, place = await self.consumer(topic, partition, group)
            try:
                return await consumer.committed(place)
            finally:
                await consumer.stop()

        return self.run(work())


class KafkaPython:
    """kafka-python, the pure one: idempotent, acks=all."""

    name = "kafka-python"
    writes_both_null = False
    writes_null_headers = False

    def __init__(self, bootstrap):
        import kafka
        import kafka.admin
        import kafka.errors
        import kafka.structs

        self.kafka = kafka
        self.errors = kafka.errors
        self.bootstrap = bootstrap
        self.admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)

    def close(self):
        self.admin.close()

    def call(self, function, *arguments, **settings):
        try:
            return function(*arguments, **settings)
        except self.errors.BrokerResponseError as error:
            raise ClientError(error.message, str(error)) from None

    def create_topic(self, topic, partitions=1, configs=None):
        new = self.kafka.admin.NewTopic(topic, partitions, 1, topic_configs=configs or {})
        self.call(self.admin.create_topics, [new])

    def delete_topic(self, topic):
        self.call(self.admin.delete_topics, [topic])

    def create_partitions(self, topic, total):
        self.call(self.admin.create_partitions, {topic: self.kafka.admin.NewPartitions(total)})

    def delete_records(self, topic, partition, offset):
        place = self.kafka.TopicPartition(topic, partition)
        answer = self.call(self.admin.delete_records, {place: offset})
        return next(iter(answer.values()))["low_watermark"]

    def describe_configs(self, topic):
        resource = self.kafka.admin.ConfigResource("TOPIC", topic)
        answer = self.call(self.admin.describe_configs, [resource], config_filter="all")
        entries = next(iter(next(iter(answer.values())).values()))
        return {name: entry["value"] for name, entry in entries.items()}

    def topics(self):
        return {row["name"]: len(row["partitions"]) for row in self.call(self.admin.describe_topics)}

    def produce(self, topic, partition, records, codec="none"):
        producer = self.kafka.KafkaProducer(
            bootstrap_servers=self.bootstrap, enable_idempotence=True, acks="all", linger_ms=5,
            compression_type=None if codec == "none" else codec, max_request_size=50_000_000,
        )  # fmt: skip
        try:
            answers = [
                producer.send(
                    topic, value=r.value, key=r.key, partition=partition, headers=list(r.headers),
                    timestamp_ms=r.timestamp_ms or None,
                )
                for r in records
            ]  # fmt: skip
            return [self.call(answer.get, SECONDS).offset for answer in answers]
        finally:
            producer.close(SECONDS)

    def consumer(self, topic, partition, group=None):
        consumer = self.kafka.KafkaConsumer(
            bootstrap_servers=self.bootstrap, enable_auto_commit=False, auto_offset_reset="none",
            group_id=group, max_partition_fetch_bytes=10_000_000,
        )  # fmt: skip
        place = self.kafka.TopicPartition(topic, partition)
        consumer.assign([place])
        return consumer, place

    def read(self, topic, partition=0, start=None):
        consumer, place = self.consumer(topic, partition)
        try:
            end = self.call(consumer.end_offsets, [place])[place]
            if start is None:
                consumer.seek_to_beginning(place)
            else:
                consumer.seek(place, start)
            found = []
            deadline = time.monotonic() + SECONDS
            while self.call(consumer.position, place) < end:
                if time.monotonic() > deadline:
                    raise ClientError("TIMED_OUT", f"after {len(found)} records")
                for message in self.call(consumer.poll, 500).get(place, []):
                    found.append(
                        Record(message.key, message.value, tuple(message.headers), message.timestamp, message.offset)
                    )
            return found
        finally:
            consumer.close()

    def ends(self, topic, partition=0):
        consumer, place = self.consumer(topic, partition)
        try:
            start = self.call(consumer.beginning_offsets, [place])
            end = self.call(consumer.end_offsets, [place])
            return start[place], end[place]
        finally:
            consumer.close()

    def offset_for_time(self, topic, partition, timestamp_ms):
        consumer, place = self.consumer(topic, partition)
        try:
            found = self.call(consumer.offsets_for_times, {place: timestamp_ms})[place]
            return found and found.offset
        finally:
            consumer.close()

    def commit_offset(self, group, topic, partition, offset):
        consumer, place = self.consumer(topic, partition, group)
        try:
            self.call(consumer.commit, {place: self.kafka.structs.OffsetAndMetadata(offset, "", -1)})
        finally:
            consumer.close()

    def committed_offset(self, group, topic, partition):
        consumer, place = self.consumer(topic, partition, group)
        try:
            return self.call(consumer.committed, place)
        finally:
            consumer.close()


class Kcat:
    """kcat on Debian's old librdkafka. Text only: records are lines, written and read through pipes."""

    name = "kcat"

    def __init__(self, bootstrap):
        self.bootstrap = bootstrap
        self.program = shutil.which("kcat") or shutil.which("kafkacat")

    def close(self):
        pass

    def run(self, *arguments, stdin=b""):
        done = subprocess.run(
            [self.program, "-b", self.bootstrap, *arguments], input=stdin, capture_output=True, timeout=SECONDS
        )
        if done.returncode:
            raise ClientError("KCAT", done.stderr.decode("utf-8", "replace"))
        return done.stdout

    def produce(self, topic, partition, records, codec="none", headers=()):
        """Keys and values must hold no line end and no byte 1; an empty value is written as null."""
        lines = b"".join((r.key or b"") + b"\x01" + (r.value or b"") + b"\n" for r in records)
        place = [] if partition is None else ["-p", str(partition)]
        extra = [part for name, value in headers for part in ("-H", f"{name}={value}")]
        settings = ["-X", "enable.idempotence=true", "-X", "acks=all", "-X", "linger.ms=5"]
        self.run("-P", "-t", topic, *place, "-K", "\x01", "-Z", "-z", codec, *settings, *extra, stdin=lines)

    def read(self, topic, partition=0, start=None):
        from_offset = "beginning" if start is None else str(start)
        out = self.run("-C", "-t", topic, "-p", str(partition), "-o", from_offset, "-e", "-q", "-J")
        found = []
        for line in out.splitlines():
            row = json.loads(line)
            names = row.get("headers") or []
            headers = tuple((k, v and v.encode()) for k, v in zip(names[::2], names[1::2]))
            key, value = (text if text is None else text.encode() for text in (row["key"], row["payload"]))
            found.append(Record(key, value, headers, row["ts"], row["offset"]))
        return found

    def offset_for_time(self, topic, partition, timestamp_ms):
        out = self.run("-Q", "-t", f"{topic}:{partition}:{timestamp_ms}").decode()
        offset = int(out.rsplit("offset", 1)[1])
        return None if offset < 0 else offset

    def topics(self):
        metadata = json.loads(self.run("-L", "-J"))
        return {topic["topic"]: len(topic["partitions"]) for topic in metadata["topics"]}
