"""Consumer groups whose partitions the broker assigns (KIP-848), through librdkafka."""

from adapters import SECONDS
from checks import equal, holds, wait_until
from group_checks import (
    grows_and_shrinks, outlives_the_broker, produce, read_once, shared_out, static_member_is_back,
)  # fmt: skip
from members import LibrdkafkaMember

PARTITIONS = 6
# A member that leaves partitions waits for the next heartbeat of the one who gets them.
CONSUMER = {"group.protocol": "consumer"}


class ConsumerMember(LibrdkafkaMember):
    """A member that speaks the consumer protocol."""

    name = "librdkafka-kip848"

    def __init__(self, bootstrap, topic, group, instance=None, **settings):
        super().__init__(bootstrap, topic, group, instance, **{**CONSUMER, **settings})


def follows_an_expression(writer, bootstrap):
    """Who subscribes by an expression is given topics that come into being later."""
    writer.create_topic("kip848-regex-a", PARTITIONS)
    member = ConsumerMember(bootstrap, "^kip848-regex-.*", "of-kip848-regex")
    try:
        read_once([member], produce(writer, "kip848-regex-a", "first"), "read of the first topic")
        writer.create_topic("kip848-regex-b", PARTITIONS)
        writer.create_topic("other-kip848-regex-b", PARTITIONS)
        produce(writer, "other-kip848-regex-b", "not-this")
        read_once([member], produce(writer, "kip848-regex-b", "second"), "read of the second topic")
        holds(not [one for one in member.seen if b"not-this" in one[2]], "another topic was read")
    finally:
        member.close()


def administered(writer, bootstrap):
    """librdkafka's admin client lists the group by its type, describes and deletes it."""
    import confluent_kafka as kafka
    from confluent_kafka.admin import AdminClient

    topic, group = "kip848-admin", "of-kip848-admin"
    writer.create_topic(topic, PARTITIONS)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    member = ConsumerMember(bootstrap, topic, group)
    try:
        shared_out([member])
        read_once([member], produce(writer, topic, "some"), "read")
        kinds = kafka.ConsumerGroupType
        for kind, is_listed in ((kinds.CONSUMER, True), (kinds.CLASSIC, False)):
            listed = admin.list_consumer_groups(types={kind}).result(SECONDS)
            equal(group in [it.group_id for it in listed.valid], is_listed, f"listed as {kind.name}")
        described = admin.describe_consumer_groups([group])[group].result(SECONDS)
        equal((described.type, described.state), (kinds.CONSUMER, kafka.ConsumerGroupState.STABLE), "described")
        equal(described.partition_assignor, "uniform", "assignor")
        equal([len(it.assignment.topic_partitions) for it in described.members], [PARTITIONS], "partitions")
        refused = admin.delete_consumer_groups([group])[group].exception(SECONDS)
        equal(refused.args[0].name(), "NON_EMPTY_GROUP", "deleting a group with members")
    finally:
        member.close()
    asked = kafka.ConsumerGroupTopicPartitions(group)
    found = admin.list_consumer_group_offsets([asked])[group].result(SECONDS)
    equal({place.offset for place in found.topic_partitions}, {60}, "committed offsets")
    admin.delete_consumer_groups([group])[group].result(SECONDS)
    listed = admin.list_consumer_groups().result(SECONDS)
    holds(group not in [it.group_id for it in listed.valid], "the group is gone")


def changes_its_type_when_empty(writer, bootstrap):
    """A group without members is taken over by members of the other protocol, with its offsets."""
    topic, group = "kip848-type", "of-kip848-type"
    writer.create_topic(topic, PARTITIONS)
    for kind in (LibrdkafkaMember, ConsumerMember, LibrdkafkaMember):
        values = produce(writer, topic, kind.name)
        member = kind(bootstrap, topic, group)
        try:
            read_once([member], values, f"read by a {kind.name} member")
            wait_until(lambda: len(member.seen) == len(values), SECONDS, lambda: f"{len(member.seen)} read")
        finally:
            member.close()


def run_kip848_checks(checks, weir, adapters):
    writer, bootstrap = adapters[0], weir.bootstrap
    checks.run("kip848/grows-and-shrinks", grows_and_shrinks, ConsumerMember, writer, bootstrap)
    remote = {"group.remote.assignor": "range"}
    checks.run("kip848/range", lambda: grows_and_shrinks(ConsumerMember, writer, bootstrap, **remote))
    checks.run("kip848/static", static_member_is_back, ConsumerMember, writer, bootstrap)
    checks.run("kip848/expression", follows_an_expression, writer, bootstrap)
    checks.run("kip848/admin", administered, writer, bootstrap)
    checks.run("kip848/type", changes_its_type_when_empty, writer, bootstrap)
    checks.run("kip848/broker-killed", outlives_the_broker, ConsumerMember, weir, writer)
