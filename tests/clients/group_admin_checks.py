"""Groups looked at and changed from outside: by kafka-python's admin client, and by aiokafka's."""

from adapters import SECONDS
from checks import equal, holds, wait_until
from group_checks import PARTITIONS, close, produce, read_once, shared_out
from members import KafkaPythonMember, LibrdkafkaMember

COUNT = 60


def live_group(writer, bootstrap, topic, **settings):
    """A stable group of one member that has read all and commits it within moments."""
    writer.create_topic(topic, PARTITIONS)
    member = LibrdkafkaMember(bootstrap, topic, f"of-{topic}", **{"auto.commit.interval.ms": 100, **settings})
    shared_out([member])
    read_once([member], produce(writer, topic, "some", COUNT), "read")
    return member


def listed_and_described(client, writer, bootstrap):
    """kafka-python: filters by state and type, and what a member has subscribed to and been given."""
    topic, group = "admin-described", "of-admin-described"
    admin = client.admin

    def listed(**filters):
        found = [row for row in admin.list_groups(**filters) if row["group_id"] == group]
        return found and (found[0]["group_state"], found[0]["group_type"], found[0]["protocol_type"])

    member = live_group(writer, bootstrap, topic, **{"client.id": "ada"})
    try:
        wanted = ("Stable", "classic", "consumer")
        equal(listed(), wanted, "listed")
        equal(listed(states_filter=["stable"], types_filter=["classic"]), wanted, "listed as asked")
        for filters in ({"states_filter": ["Empty"]}, {"types_filter": ["share"]}):
            equal(listed(**filters), [], f"listed by {filters}")
        described = admin.describe_groups([group])[group]
        seen = [described[name] for name in ("error", "group_state", "protocol_type", "protocol_data")]
        equal(seen, [None, "Stable", "consumer", "range"], "described")
        equal(len(described["members"]), 1, "members")
        one = described["members"][0]
        equal((one["client_id"], one["client_host"]), ("ada", "/127.0.0.1"), "member")
        holds(one["member_id"].startswith("ada-"), one["member_id"])
        equal(one["member_metadata"]["topics"], [topic], "subscription")
        given = one["member_assignment"]["assigned_partitions"]
        equal([(it["topic"], sorted(it["partitions"])) for it in given], [(topic, list(range(PARTITIONS)))], "given")
    finally:
        member.close()
    equal(listed(states_filter=["Empty"]), ("Empty", "classic", "consumer"), "listed when all had gone")
    described = admin.describe_groups([group])[group]
    equal((described["group_state"], described["members"]), ("Empty", []), "described when all had gone")
    none = admin.describe_groups(["no-such-group"])["no-such-group"]
    equal((none["group_state"], none["members"]), ("Dead", []), "a group that never was")


def changed(client, writer, bootstrap):
    """kafka-python: what may be done to offsets while somebody reads, and what afterwards."""
    kafka, admin = client.kafka, client.admin
    topic, other, group = "admin-changed", "admin-changed-other", "of-admin-changed"
    writer.create_topic(other, 1)
    places = [kafka.TopicPartition(topic, n) for n in range(PARTITIONS)]
    moved = client.kafka.structs.OffsetAndMetadata(7, "by hand: Zoë 明", -1)

    def offsets():
        return {place: found.offset for place, found in admin.list_group_offsets(group)[group].items()}

    def names(answer):
        return {key: error.__name__ for key, error in answer.items()}

    member = live_group(writer, bootstrap, topic)
    try:
        wanted = dict.fromkeys(places, COUNT)
        wait_until(lambda: offsets() == wanted, SECONDS, lambda: f"committed: {offsets()}")
        found = names(admin.alter_group_offsets(group, {places[0]: moved}))
        equal(found, {places[0]: "UnknownMemberIdError"}, "a commit from outside while a member reads")
        found = names(admin.delete_group_offsets(group, places[:1]))
        equal(found, {places[0]: "GroupSubscribedToTopicError"}, "OffsetDelete while a member reads")
        equal(admin.delete_groups([group]), {group: "NonEmptyGroupError"}, "DeleteGroups while a member reads")
        equal(offsets(), wanted, "offsets after the refusals")
    finally:
        member.close()

    equal(names(admin.alter_group_offsets(group, {places[0]: moved})), {places[0]: "NoError"}, "a commit")
    found = admin.list_group_offsets({group: places[:1]})[group][places[0]]
    equal((found.offset, found.metadata), (7, "by hand: Zoë 明"), "what was committed")
    found = names(admin.delete_group_offsets(group, [places[1], kafka.TopicPartition(other, 9)]))
    wanted = {places[1]: "NoError", kafka.TopicPartition(other, 9): "UnknownTopicOrPartitionError"}
    equal(found, wanted, "OffsetDelete")
    equal(offsets(), {place: 7 if place.partition == 0 else COUNT for place in places if place.partition != 1}, "left")
    reset = admin.reset_group_offsets(group, {places[2]: kafka.admin.OffsetSpec.EARLIEST})
    equal(reset[places[2]]["error"].__name__, "NoError", "reset")
    equal(offsets()[places[2]], 0, "offset after the reset")

    member = LibrdkafkaMember(bootstrap, topic, group)
    try:
        wait_until(lambda: len(member.seen) >= 3 * COUNT - 7, SECONDS, lambda: f"{len(member.seen)} read")
        again = {(partition, offset) for partition, offset, _ in member.seen}
        wanted = {(0, n) for n in range(7, COUNT)} | {(p, n) for p in (1, 2) for n in range(COUNT)}
        equal(again, wanted, "read again")
    finally:
        member.close()
    answer = admin.delete_groups([group, "no-such-group"])
    equal(answer, {group: "OK", "no-such-group": "GroupIdNotFoundError"}, "DeleteGroups")
    equal(offsets(), {}, "offsets of a deleted group")


def removed(client, writer, bootstrap):
    """kafka-python: a static member that went is put out by its instance id, long before its session ends."""
    from kafka.admin import MemberToRemove

    topic, group = "admin-removed", "of-admin-removed"
    writer.create_topic(topic, PARTITIONS)
    long = {"session_timeout_ms": 300_000}
    members = [KafkaPythonMember(bootstrap, topic, group, instance=f"member-{n}", **long) for n in range(2)]
    try:
        shared_out(members, 3)
        members.pop().close()
        out = [MemberToRemove(group_instance_id=name) for name in ("member-1", "nobody")]
        found = {key: error.__name__ for key, error in client.admin.remove_group_members(group, out).items()}
        equal(sorted(found.values()), ["NoError", "UnknownMemberIdError"], f"removed: {found}")
        shared_out(members, PARTITIONS)
        read_once(members, produce(writer, topic, "one"), "read by the one that stayed")
    finally:
        close(members)


def seen_by_aiokafka(client, writer, bootstrap):
    """aiokafka's admin client has no more than this."""
    topic, group = "admin-aiokafka", "of-admin-aiokafka"
    place = client.kafka.TopicPartition
    member = live_group(writer, bootstrap, topic)
    try:
        holds((group, "consumer") in client.run(client.admin.list_consumer_groups()), "the group is listed")
        row = client.run(client.admin.describe_consumer_groups([group]))[0].groups[0]
        equal(row[:5], (0, group, "Stable", "consumer", "range"), "described")
        equal(len(row[5]), 1, "members")
    finally:
        member.close()
    found = client.run(client.admin.list_consumer_group_offsets(group))
    equal({at: it.offset for at, it in found.items()}, {place(topic, n): COUNT for n in range(PARTITIONS)}, "offsets")


def run_group_admin_checks(checks, adapters):
    librdkafka, aiokafka, kafka_python = adapters
    bootstrap = librdkafka.bootstrap
    for name, check in (("described", listed_and_described), ("changed", changed), ("removed", removed)):
        checks.run(f"group/kafka-python/{name}", check, kafka_python, librdkafka, bootstrap)
    checks.run("group/aiokafka/described", seen_by_aiokafka, aiokafka, librdkafka, bootstrap)
