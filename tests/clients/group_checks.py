"""Consumer groups through real clients: members share, come and go, commit, and outlive a restart."""

from adapters import SECONDS, Record
from checks import equal, holds, wait_until
from members import MEMBERS, LibrdkafkaMember, settle

PARTITIONS = 6


def produce(writer, topic, name, count=60):
    """Some records in every partition; their values."""
    values = set()
    for partition in range(PARTITIONS):
        records = [Record(None, b"%s-%d-%d" % (name.encode(), partition, n)) for n in range(count)]
        writer.produce(topic, partition, records)
        values.update(record.value for record in records)
    return values


def shared_out(members, least=1):
    """All partitions have one owner, and everybody has some."""

    def look():
        for member in members:
            if member.error:
                raise member.error
        owned = [partition for member in members for partition in member.assigned]
        return sorted(owned) == list(range(PARTITIONS)) and all(len(it.assigned) >= least for it in members)

    wait_until(look, SECONDS, lambda: f"assigned: {[sorted(member.assigned) for member in members]}")


def read_once(members, values, what):
    """Every value was read by exactly one member, once."""

    def read():
        return [value for member in members for _, _, value in member.seen if value in values]

    wait_until(lambda: len(read()) >= len(values), SECONDS, lambda: f"{what}: {len(read())} of {len(values)} read")
    settle()
    equal(sorted(read()), sorted(values), what)


def close(members):
    for member in members:
        member.stopping = True
    for member in members:
        member.close()


def grows_and_shrinks(kind, writer, bootstrap, **settings):
    """A group of three, then two, then none, then one that goes on where they stopped."""
    topic = f"group-{kind.name}-{'-'.join(map(str, settings.values()))}".rstrip("-")
    group = f"of-{topic}"
    writer.create_topic(topic, PARTITIONS)
    first = produce(writer, topic, "first")
    members = [kind(bootstrap, topic, group, **settings)]
    try:
        read_once(members, first, "read by one")
        for _ in range(2):
            members.append(kind(bootstrap, topic, group, **settings))
        shared_out(members, 2)
        read_once(members, produce(writer, topic, "three"), "read by three")
        gone = members.pop(0)
        gone.close()
        shared_out(members)
        read_once(members, produce(writer, topic, "two"), "read by two")
    finally:
        close(members)
    last = produce(writer, topic, "last")
    member = kind(bootstrap, topic, group, **settings)
    try:
        read_once([member], last, "read after all had gone")
        equal({value for _, _, value in member.seen} - last, set(), "read again though it was committed")
    finally:
        member.close()


def static_member_is_back(kind, writer, bootstrap):
    """A static member that restarts gets its partitions back, and the other notices nothing."""
    topic = f"static-{kind.name}"
    writer.create_topic(topic, PARTITIONS)
    one, two = (kind(bootstrap, topic, f"of-{topic}", instance=f"{topic}-{n}") for n in range(2))
    try:
        shared_out([one, two], 3)
        before, noticed = set(two.assigned), one.assignments
        two.close()
        two = kind(bootstrap, topic, f"of-{topic}", instance=f"{topic}-1")
        wait_until(lambda: two.error or two.assigned == before, SECONDS, lambda: f"assigned: {two.assigned}")
        read_once([one, two], produce(writer, topic, "again"), "read after the restart")
        equal(one.assignments, noticed, "times the other was given partitions")
    finally:
        close([one, two])


def outlives_the_broker(kind, weir, writer):
    """The broker is killed under a group of two: no rebalance, nothing is read twice or lost."""
    topic = f"under-kill-{kind.name}"
    writer.create_topic(topic, PARTITIONS)
    members = [kind(weir.bootstrap, topic, f"of-{topic}") for _ in range(2)]
    try:
        shared_out(members, 3)
        read_once(members, produce(writer, topic, "before"), "read before")
        noticed = [member.assignments for member in members]
        weir.kill()
        weir.start()
        read_once(members, produce(writer, topic, "after"), "read after")
        equal([member.assignments for member in members], noticed, "times they were given partitions")
    finally:
        close(members)


def administered(writer, bootstrap):
    """librdkafka's admin client lists, describes, alters and deletes groups."""
    import confluent_kafka as kafka
    from confluent_kafka.admin import AdminClient

    topic, group = "group-admin", "of-group-admin"
    writer.create_topic(topic, PARTITIONS)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    member = LibrdkafkaMember(bootstrap, topic, group)
    try:
        shared_out([member])
        read_once([member], produce(writer, topic, "some"), "read")
        listed = admin.list_consumer_groups(states={kafka.ConsumerGroupState.STABLE}).result(SECONDS)
        holds(group in [it.group_id for it in listed.valid], "the group is listed as stable")
        described = admin.describe_consumer_groups([group])[group].result(SECONDS)
        equal((described.state, len(described.members)), (kafka.ConsumerGroupState.STABLE, 1), "described")
        equal(len(described.members[0].assignment.topic_partitions), PARTITIONS, "partitions of the member")
        holds(described.members[0].host.startswith("/127.0.0.1"), described.members[0].host)
        refused = admin.delete_consumer_groups([group])[group].exception(SECONDS)
        equal(refused.args[0].name(), "NON_EMPTY_GROUP", "deleting a group with members")
    finally:
        member.close()
    asked = kafka.ConsumerGroupTopicPartitions(group)
    found = admin.list_consumer_group_offsets([asked])[group].result(SECONDS)
    equal({place.offset for place in found.topic_partitions}, {60}, "committed offsets")
    moved = kafka.ConsumerGroupTopicPartitions(group, [kafka.TopicPartition(topic, 0, 7)])
    admin.alter_consumer_group_offsets([moved])[group].result(SECONDS)
    asked = kafka.ConsumerGroupTopicPartitions(group, [kafka.TopicPartition(topic, 0)])
    found = admin.list_consumer_group_offsets([asked])[group].result(SECONDS)
    equal(found.topic_partitions[0].offset, 7, "moved offset")
    admin.delete_consumer_groups([group])[group].result(SECONDS)
    listed = admin.list_consumer_groups().result(SECONDS)
    holds(group not in [it.group_id for it in listed.valid], "the group is gone")


def run_group_checks(checks, weir, adapters):
    writer, bootstrap = adapters[0], adapters[0].bootstrap
    for kind in MEMBERS:
        checks.run(f"group/{kind.name}/grows-and-shrinks", grows_and_shrinks, kind, writer, bootstrap)
        checks.run(f"group/{kind.name}/static", static_member_is_back, kind, writer, bootstrap)
    cooperative = {"partition.assignment.strategy": "cooperative-sticky"}
    checks.run(
        "group/librdkafka/cooperative",
        lambda: grows_and_shrinks(LibrdkafkaMember, writer, bootstrap, **cooperative),
    )
    checks.run("group/librdkafka/admin", administered, writer, bootstrap)
    if weir:
        checks.run("group/librdkafka/broker-killed", outlives_the_broker, LibrdkafkaMember, weir, writer)
