"""Transactions through real clients: committed is read, aborted is not, a zombie is fenced, and offsets count with the
commit."""

import asyncio
import threading

from adapters import SECONDS
from checks import equal, holds, wait_until


def committed(bootstrap, topic, isolation="read_committed"):
    """All values that a reader sees, from the start to the end."""
    import confluent_kafka as kafka

    consumer = kafka.Consumer({
        "bootstrap.servers": bootstrap, "group.id": "nobody", "isolation.level": isolation,
        "enable.partition.eof": True, "enable.auto.commit": False, "auto.offset.reset": "earliest",
    })  # fmt: skip
    partitions = consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
    consumer.assign([kafka.TopicPartition(topic, partition, 0) for partition in partitions])
    values, left = [], len(partitions)
    while left:
        message = consumer.poll(SECONDS)
        holds(message is not None, f"an answer, with {left} partitions left")
        if message.error() is None:
            values.append(message.value())
        elif message.error().code() == kafka.KafkaError._PARTITION_EOF:
            left -= 1
        else:
            raise kafka.KafkaException(message.error())
    consumer.close()
    return sorted(values)


class Librdkafka:
    name = "librdkafka"

    def __init__(self, bootstrap, transactional_id):
        import confluent_kafka

        self.producer = confluent_kafka.Producer(
            {"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "transaction.timeout.ms": 20_000}
        )
        self.producer.init_transactions(SECONDS)

    def write(self, topic, values, commits):
        self.producer.begin_transaction()
        for n, value in enumerate(values):
            self.producer.produce(topic, value, partition=n % 3)
        if commits:
            self.producer.commit_transaction(SECONDS)
        else:
            self.producer.flush(SECONDS)
            self.producer.abort_transaction(SECONDS)

    def close(self):
        del self.producer


class KafkaPython:
    name = "kafka-python"

    def __init__(self, bootstrap, transactional_id):
        import kafka

        self.producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id)
        self.producer.init_transactions()

    def write(self, topic, values, commits):
        self.producer.begin_transaction()
        for n, value in enumerate(values):
            self.producer.send(topic, value, partition=n % 3)
        self.producer.flush(SECONDS)
        if commits:
            self.producer.commit_transaction()
        else:
            self.producer.abort_transaction()

    def close(self):
        self.producer.close()


class Aiokafka:
    name = "aiokafka"

    def __init__(self, bootstrap, transactional_id):
        import aiokafka

        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.start(aiokafka, bootstrap, transactional_id))

    async def start(self, aiokafka, bootstrap, transactional_id):
        self.producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id)
        await self.producer.start()

    def write(self, topic, values, commits):
        self.loop.run_until_complete(asyncio.wait_for(self.transaction(topic, values, commits), SECONDS))

    async def transaction(self, topic, values, commits):
        await self.producer.begin_transaction()
        for n, value in enumerate(values):
            await self.producer.send_and_wait(topic, value, partition=n % 3)
        await (self.producer.commit_transaction() if commits else self.producer.abort_transaction())

    def close(self):
        self.loop.run_until_complete(self.producer.stop())
        self.loop.close()


def ends_as_told(kind, writer, bootstrap):
    topic = f"transactions-{kind.name}"
    writer.create_topic(topic, 3)
    producer = kind(bootstrap, topic)
    wanted = []
    for round_ in range(6):
        values = [b"%d-%d" % (round_, n) for n in range(10)]
        producer.write(topic, values, round_ % 3 != 1)
        if round_ % 3 != 1:
            wanted += values
    producer.close()
    equal(committed(bootstrap, topic), sorted(wanted), "committed values")
    equal(len(committed(bootstrap, topic, "read_uncommitted")), 60, "all values")


def zombie_is_fenced(writer, bootstrap):
    import confluent_kafka

    topic = "transactions-zombie"
    writer.create_topic(topic, 3)
    zombie = Librdkafka(bootstrap, topic)
    zombie.producer.begin_transaction()
    zombie.producer.produce(topic, b"zombie", partition=0)
    zombie.producer.flush(SECONDS)
    alive = Librdkafka(bootstrap, topic)
    alive.write(topic, [b"alive"], True)
    try:
        zombie.producer.commit_transaction(SECONDS)
    except confluent_kafka.KafkaException as error:
        holds(error.args[0].code() == confluent_kafka.KafkaError._FENCED, error.args[0].name())
    else:
        raise AssertionError("a zombie has committed")
    equal(committed(bootstrap, topic), [b"alive"], "committed values")


def offsets_go_along(writer, bootstrap):
    """Reads, writes and commits offsets in one transaction; an aborted one moves nothing."""
    import confluent_kafka as kafka

    source, target = "transactions-source", "transactions-target"
    writer.create_topic(source, 1)
    writer.create_topic(target, 3)
    plain = kafka.Producer({"bootstrap.servers": bootstrap})
    for n in range(20):
        plain.produce(source, b"%d" % n, partition=0)
    plain.flush(SECONDS)
    settings = {
        "bootstrap.servers": bootstrap, "group.id": f"of-{source}", "isolation.level": "read_committed",
        "enable.auto.commit": False, "auto.offset.reset": "earliest", "session.timeout.ms": 6000,
    }  # fmt: skip
    consumer = kafka.Consumer(settings)
    consumer.subscribe([source])
    producer = Librdkafka(bootstrap, source).producer
    for commits in (False, True, True):
        messages = []
        while len(messages) < 10:
            message = consumer.poll(SECONDS)
            holds(message is not None and message.error() is None, "a record")
            messages.append(message)
        producer.begin_transaction()
        for message in messages:
            producer.produce(target, message.value(), partition=0)
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), SECONDS
        )
        if commits:
            producer.commit_transaction(SECONDS)
        else:
            producer.abort_transaction(SECONDS)
            consumer.seek(kafka.TopicPartition(source, 0, 0))
    equal(committed(bootstrap, target), sorted(b"%d" % n for n in range(20)), "each record once")
    found = consumer.committed([kafka.TopicPartition(source, 0)], SECONDS)
    equal(found[0].offset, 20, "committed offset")
    consumer.close()


def outlives_the_broker(weir, writer):
    """The broker is killed between transactions and within them: all or nothing of each is read."""
    topic = "transactions-kill"
    writer.create_topic(topic, 3)
    producer, told = Librdkafka(weir.bootstrap, topic), []

    def write():
        import confluent_kafka as kafka

        for n in range(60):
            values = [b"%d-%d" % (n, m) for m in range(6)]
            while True:
                try:
                    producer.write(topic, values, True)
                    told.append(values)
                    break
                except kafka.KafkaException as error:
                    if error.args[0].txn_requires_abort():
                        producer.producer.abort_transaction(SECONDS)
                    elif not error.args[0].retriable():
                        raise

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    for goal in (10, 25, 40):
        wait_until(lambda: len(told) >= goal or not thread.is_alive(), SECONDS, lambda: f"{len(told)} told")
        weir.kill()
        weir.start()
    thread.join(2 * SECONDS)
    equal(len(told), 60, "transactions that were told to be committed")
    read = committed(weir.bootstrap, topic)
    equal(read, sorted(value for values in told for value in values), "committed values")


def run_transaction_checks(checks, weir, adapters):
    writer, bootstrap = adapters[0], weir.bootstrap
    for kind in (Librdkafka, Aiokafka, KafkaPython):
        checks.run(f"transaction/{kind.name}/ends-as-told", ends_as_told, kind, writer, bootstrap)
    checks.run("transaction/librdkafka/zombie", zombie_is_fenced, writer, bootstrap)
    checks.run("transaction/librdkafka/offsets", offsets_go_along, writer, bootstrap)
    checks.run("transaction/librdkafka/broker-killed", outlives_the_broker, weir, writer)
