"""Groups that change their kind while librdkafka's members of both protocols read (KIP-848)."""

import threading
import time

from adapters import SECONDS
from checks import equal, holds, wait_until
from group_checks import PARTITIONS, close, shared_out
from members import LibrdkafkaMember

# The broker tells members of the consumer protocol to come every five seconds.
PATIENCE = 2 * SECONDS


class Deeds:
    """Who owns which partition, by what the clients call back."""

    def __init__(self):
        self.lock = threading.Lock()
        self.owners, self.disputes = {}, []

    def take(self, member, partitions):
        with self.lock:
            for partition in partitions:
                owner = self.owners.setdefault(partition, member)
                if owner is not member:
                    self.disputes.append(f"{partition}: {owner.label} and {member.label}")
                    self.owners[partition] = member

    def drop(self, member, partitions):
        with self.lock:
            for partition in partitions:
                if self.owners.get(partition) is member:
                    del self.owners[partition]


class OwningMember(LibrdkafkaMember):
    """A member that notes in the deeds what it is given and what it gives back."""

    def __init__(self, deeds, label, bootstrap, topic, group, instance=None, **settings):
        self.deeds, self.label = deeds, label
        super().__init__(bootstrap, topic, group, instance, **settings)

    def took(self, places):
        self.deeds.take(self, [place.partition for place in places])

    def gave_back(self, places):
        self.deeds.drop(self, [place.partition for place in places])


class Writer:
    """Writes to all partitions until it is stopped."""

    def __init__(self, bootstrap, topic):
        import confluent_kafka

        self.producer = confluent_kafka.Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True})
        self.topic, self.values, self.stopping = topic, set(), False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        number = 0
        while not self.stopping:
            value = b"%d" % number
            self.producer.produce(
                self.topic, value, partition=number % PARTITIONS,
                on_delivery=lambda error, message: error or self.values.add(message.value()),
            )  # fmt: skip
            self.producer.poll(0)
            number += 1
            time.sleep(0.01)
        self.producer.flush(SECONDS)

    def stop(self):
        self.stopping = True
        self.thread.join(60)


class Plot:
    """A topic that is written to all the time, and members that come and go."""

    def __init__(self, writer, bootstrap, name, **classic):
        from confluent_kafka.admin import AdminClient

        self.admin = AdminClient({"bootstrap.servers": bootstrap})
        self.bootstrap, self.topic, self.group = bootstrap, f"migration-{name}", f"of-migration-{name}"
        self.classic = {"auto.commit.interval.ms": 500, **classic}
        self.deeds, self.members, self.gone = Deeds(), {}, []
        writer.create_topic(self.topic, PARTITIONS)
        self.writer = Writer(bootstrap, self.topic)

    def come(self, label, instance=None):
        """A member; its label begins with the protocol that it speaks."""
        settings = {"group.protocol": "consumer"} if label.startswith("consumer") else self.classic
        place = (self.bootstrap, self.topic, self.group, instance)
        self.members[label] = OwningMember(self.deeds, label, *place, **settings)
        self.settle()

    def go(self, label):
        member = self.members.pop(label)
        member.close()
        self.gone.append(member)
        if self.members:
            self.settle()

    def settle(self):
        members = list(self.members.values())
        wait_until(lambda: is_shared(members), PATIENCE, lambda: {it.label: sorted(it.assigned) for it in members})
        shared_out(members)

    def kind(self, wanted):
        """The group is of that kind."""
        listed = self.admin.list_consumer_groups().result(SECONDS)
        equal([it.type.name for it in listed.valid if it.group_id == self.group], [wanted], "kind of the group")

    def finish(self):
        """All that was written was read, and nothing was owned twice."""
        self.writer.stop()
        members = [*self.members.values(), *self.gone]

        def missing():
            return self.writer.values - {value for member in members for _, _, value in member.seen}

        wait_until(lambda: not missing(), PATIENCE, lambda: f"{len(missing())} of {len(self.writer.values)} not read")
        holds(len(self.writer.values) > 100, "too little was written to tell")
        equal(self.deeds.disputes, [], "partitions with two owners")
        count = sum(len(member.seen) for member in members)
        return f"{len(self.writer.values)} written, {count} read"

    def close(self):
        self.writer.stop()
        close(list(self.members.values()))


def is_shared(members):
    for member in members:
        if member.error:
            raise member.error
    owned = sorted(partition for member in members for partition in member.assigned)
    return owned == list(range(PARTITIONS)) and all(member.assigned for member in members)


def there_and_back(writer, bootstrap):
    """Two classic members are replaced by two of the consumer protocol, one by one; and back."""
    plot = Plot(writer, bootstrap, "eager")
    try:
        plot.come("classic-1")
        plot.come("classic-2")
        plot.kind("CLASSIC")
        plot.come("consumer-1")
        plot.kind("CONSUMER")
        plot.come("consumer-2")
        plot.go("classic-1")
        plot.go("classic-2")
        plot.come("classic-3")
        plot.kind("CONSUMER")
        plot.come("classic-4")
        plot.go("consumer-1")
        plot.go("consumer-2")
        plot.kind("CLASSIC")
        return plot.finish()
    finally:
        plot.close()


def cooperative_members_stay(writer, bootstrap):
    """Cooperative classic members come to a consumer group, and stay when it becomes a classic one.

    There is no way up for them: librdkafka's leader copies what each member says of itself into the
    assignment, and such a group is refused, by Kafka too.
    """
    plot = Plot(writer, bootstrap, "cooperative", **{"partition.assignment.strategy": "cooperative-sticky"})
    try:
        plot.come("consumer-1")
        plot.come("classic-1")
        plot.kind("CONSUMER")
        plot.come("classic-2")
        plot.go("consumer-1")
        plot.kind("CLASSIC")
        plot.come("classic-3")
        return plot.finish()
    finally:
        plot.close()


def static_members_move(writer, bootstrap):
    """Static members come back with the other protocol, under the same instance ids."""
    plot = Plot(writer, bootstrap, "static")
    try:
        plot.come("classic-1", "one")
        plot.come("classic-2", "two")
        for before, after, instance, kind in (
            ("classic-1", "consumer-1", "one", "CONSUMER"),
            ("classic-2", "consumer-2", "two", "CONSUMER"),
            ("consumer-1", "classic-3", "one", "CONSUMER"),
            ("consumer-2", "classic-4", "two", "CLASSIC"),
        ):
            member = plot.members.pop(before)
            member.close()
            plot.gone.append(member)
            plot.come(after, instance)
            plot.kind(kind)
        return plot.finish()
    finally:
        plot.close()


def under_kills(weir, writer):
    """The broker is killed while members of both protocols share the group, and when it is classic again."""
    plot = Plot(writer, weir.bootstrap, "kills")
    try:
        plot.come("classic-1")
        plot.come("consumer-1")
        for label in (None, "consumer-1"):
            if label:
                plot.go(label)
            weir.kill()
            weir.start()
            plot.settle()
        plot.kind("CLASSIC")
        return plot.finish()
    finally:
        plot.close()


def run_migration_checks(checks, weir, adapters):
    writer, bootstrap = adapters[0], weir.bootstrap
    checks.run("migration/eager", there_and_back, writer, bootstrap)
    checks.run("migration/cooperative", cooperative_members_stay, writer, bootstrap)
    checks.run("migration/static", static_members_move, writer, bootstrap)
    checks.run("migration/broker-killed", under_kills, weir, writer)
